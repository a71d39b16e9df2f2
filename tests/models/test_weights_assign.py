"""Files that Keras saved go into models as Keras itself would put them; other files do no harm."""

import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import h5py
import pytest

from sharpeye.errors import ModelError
from sharpeye.models.weights.formats import read_weight_file

# Keras writes each kind of file, and reads them back into zoo models, in a process of its own:
# this one stays free of TensorFlow.
PROBE = """
import json, sys
from pathlib import Path
import h5py, keras, numpy as np
from keras.src.legacy.saving.legacy_h5_format import save_weights_to_hdf5_group
from sharpeye.errors import ModelError
from sharpeye.models.registry import get_spec
from sharpeye.models.weights.assign import assign_weights, describe
from sharpeye.models.weights.formats import read_weight_file

folder = Path(sys.argv[1])
random = np.random.default_rng(0)
SIDE = 75
pixels = random.integers(0, 256, (2, SIDE, SIDE, 3)).astype("float32")
shape = (SIDE, SIDE, 3)


def scrambled(model):
    # Batch norms begin as 1, 1, 0, 0 everywhere: exchanged arrays would not be seen.
    for layer in model.layers:
        if type(layer).__name__ == "BatchNormalization":
            layer.set_weights([random.uniform(0.5, 1.5, w.shape) for w in layer.weights])
    return model


def legacy(model, name):
    with h5py.File(folder / name, "w") as file:
        save_weights_to_hdf5_group(file, model)


def attempt(model, name):
    found = assign_weights(model, read_weight_file(folder / name))
    answer = model(pixels)
    return found, np.asarray(answer["features"]), np.asarray(answer["logits"])


def compare(model, name, source, features):
    for variable, value in zip(model.weights, before[model.name]):
        variable.assign(value)
    found, got, logits = attempt(model, name)
    expected = np.asarray(source(pixels / 127.5 - 1))
    if features:
        got = got if expected.ndim == 2 else got[:, None, None]
        expected = expected if expected.ndim == 2 else expected.mean((1, 2), keepdims=True)
    else:
        got = logits
    results[name] = {
        "error": float(np.abs(got - expected).max() / np.abs(expected).max()),
        "unused": found.unused,
        "line": describe(folder / name, found),
    }


def refused(model, name):
    old = model.get_weights()
    try:
        attempt(model, name)
    except ModelError as error:
        same = all((a == b).all() for a, b in zip(old, model.get_weights()))
        results["refused " + name] = {"message": str(error), "unchanged": same}


results = {}
options = {"weights": None, "input_shape": shape}
one = scrambled(keras.applications.MobileNet(alpha=0.25, classifier_activation=None, **options))
bare = keras.applications.MobileNet(alpha=0.25, include_top=False, **options)
for layer in bare.layers:
    layer.set_weights(one.get_layer(layer.name).get_weights() if layer.weights else [])
two = keras.applications.MobileNetV2(alpha=0.35, include_top=False, pooling="avg", **options)
scrambled(two)
three = keras.applications.InceptionV3(include_top=False, pooling="avg", **options)
scrambled(three)

one.save_weights(folder / "one.weights.h5")
bare.save_weights(folder / "bare.weights.h5")
one.save(folder / "one.keras")
bare.save(folder / "bare.keras")
legacy(one, "one.h5")
legacy(bare, "bare.h5")
one.save(folder / "whole.h5")
three.save_weights(folder / "three.weights.h5")
legacy(three, "three.h5")

names = iter(range(1000))
renamed = keras.models.clone_model(
    two, clone_function=lambda layer: type(layer).from_config(
        layer.get_config() | {"name": f"mobl{next(names)}_conv"}
    )
)
renamed.set_weights(two.get_weights())
legacy(renamed, "renamed.h5")

inside = keras.Sequential([
    keras.Input(shape),
    keras.layers.Normalization(mean=[0.1] * 3, variance=[2.0] * 3),
    bare,
    keras.layers.GlobalAveragePooling2D(),
    keras.layers.Dense(5, name="mine"),
])
inside.compile("adam", "mse")
inside.save(folder / "inside.keras")
inside.save(folder / "inside.h5")

target = get_spec("mobilenet_0.25_128").build(SIDE, SIDE)
target_two = get_spec("mobilenet_v2_0.35_96").build(SIDE, SIDE)
target_three = get_spec("inception_v3").build(SIDE, SIDE)
before = {m.name: m.get_weights() for m in (target, target_two, target_three)}

for name in ("one.weights.h5", "one.keras", "one.h5", "whole.h5"):
    compare(target, name, one, features=False)
for name in ("bare.weights.h5", "bare.keras", "bare.h5", "inside.keras", "inside.h5"):
    compare(target, name, bare, features=True)
compare(target_two, "renamed.h5", two, features=True)
compare(target_three, "three.weights.h5", three, features=True)
compare(target_three, "three.h5", three, features=True)

# Files that do not name their layers, as older versions of Keras 3 wrote them.
with h5py.File(folder / "bare.weights.h5") as old, h5py.File(folder / "nameless.h5", "w") as new:
    old.copy("layers", new)
    for layer in new["layers"]:
        del new["layers"][layer]["vars"].attrs["name"]
compare(target, "nameless.h5", bare, features=True)

# One layer of the backbone has another shape.
with h5py.File(folder / "bare.h5") as old, h5py.File(folder / "other.h5", "w") as new:
    for key in old:
        old.copy(key, new)
    names = [n for n in old.attrs["layer_names"]]
    new.attrs["layer_names"] = names
    group = new["conv_pw_3"]
    (weight,) = group.attrs["weight_names"]
    del group[weight]
    group[weight] = np.zeros((1, 1, 7, 9), "float32")
    del group.attrs["weight_names"]
    group.attrs["weight_names"] = [weight]

half = keras.applications.MobileNet(alpha=0.5, include_top=False, **options)
legacy(half, "half.h5")
half.save_weights(folder / "half.weights.h5")
for name in ("other.h5", "half.h5", "half.weights.h5", "renamed.h5", "three.weights.h5"):
    refused(target, name)
print(json.dumps(results))
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A folder of files that Keras wrote, and what came of reading them into zoo models."""
    folder = tmp_path_factory.mktemp("saved")
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow"}
    done = subprocess.run(
        [sys.executable, "-c", PROBE, folder], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return folder, json.loads(done.stdout.splitlines()[-1])


WITH_TOP = ("one.weights.h5", "one.keras", "one.h5", "whole.h5")
WITHOUT_TOP = ("bare.weights.h5", "bare.keras", "bare.h5", "nameless.h5")
INCEPTION = ("three.weights.h5", "three.h5")
INSIDE = ("inside.keras", "inside.h5")


@pytest.mark.parametrize("name", [*WITH_TOP, *WITHOUT_TOP, *INCEPTION, *INSIDE, "renamed.h5"])
def test_a_model_answers_as_the_one_that_was_saved(
    name: str, saved: tuple[Path, dict[str, Any]]
) -> None:
    assert saved[1][name]["error"] < 1e-4


def test_the_line_says_what_was_found(saved: tuple[Path, dict[str, Any]]) -> None:
    _, results = saved
    no_top = "missing: conv_preds (the ImageNet classifier), unused: none"
    for name in WITH_TOP:
        expected = f"weights from {name}: 55 layers matched, missing: none, unused: none"
        assert results[name]["line"] == expected
    for name in WITHOUT_TOP:
        assert results[name]["line"] == f"weights from {name}: 54 layers matched, {no_top}"
    for name in INCEPTION:
        expected = "missing: predictions (the ImageNet classifier), unused: none"
        assert results[name]["line"] == f"weights from {name}: 188 layers matched, {expected}"


@pytest.mark.parametrize("name", INSIDE)
def test_layers_around_a_model_inside_are_unused(
    name: str, saved: tuple[Path, dict[str, Any]]
) -> None:
    assert saved[1][name]["unused"][-1] == "mine"
    assert "54 layers matched" in saved[1][name]["line"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("other.h5", r"lacks a part of .*: 134 of 135 weight arrays matched, missing: "),
        ("other.h5", r"missing: conv_pw_3 1x1x32x32 \(1x1x7x9 in the file\); give the weights"),
        ("half.h5", r"conv1 3x3x3x8 \(3x3x3x16 in the file\), .* and 51 more; give the weights"),
        ("half.weights.h5", r"is of another network than mobilenet_0\.25_75: 0 of 135 weight"),
        ("renamed.h5", r"is of another network than .* use --weights imagenet, or --weights none"),
        ("three.weights.h5", r"is of another network than"),
    ],
)
def test_weights_of_another_network_are_refused_and_change_nothing(
    name: str, reason: str, saved: tuple[Path, dict[str, Any]]
) -> None:
    folder, results = saved
    found = results[f"refused {name}"]
    assert found["message"].startswith(str(folder / name))
    assert "\n" not in found["message"]
    assert re.search(reason, found["message"]), found["message"]
    assert found["unchanged"]


@pytest.mark.parametrize("name", ["bare.keras", "inside.keras"])
def test_archives_without_names_take_them_from_the_config(
    name: str, saved: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    whole = saved[0] / name
    with zipfile.ZipFile(whole) as archive:
        archive.extractall(tmp_path)
    with h5py.File(tmp_path / "model.weights.h5", "a") as file:
        file.visititems(lambda _, thing: thing.attrs.pop("name", None))
    with zipfile.ZipFile(tmp_path / name, "w") as archive:
        for member in ("config.json", "model.weights.h5"):
            archive.write(tmp_path / member, member)
    found, expected = read_weight_file(tmp_path / name), read_weight_file(whole)
    for scope, other in zip(found.scopes, expected.scopes, strict=True):
        assert [part.name for part in scope] == [part.name for part in other]


@pytest.mark.parametrize("name", ["bare.h5", "bare.weights.h5", "bare.keras"])
def test_a_file_cut_anywhere_is_refused(
    name: str, saved: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    data = (saved[0] / name).read_bytes()
    cut = tmp_path / name
    for part in range(20):
        cut.write_bytes(data[: len(data) * part // 20])
        with pytest.raises(ModelError, match=re.escape(str(cut))):
            read_weight_file(cut)
