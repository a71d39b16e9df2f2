"""Weights files that Keras saved are loaded as Keras itself would; other files change nothing."""

import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from sharpeye.errors import ModelError
from sharpeye.models.registry import get_spec
from sharpeye.models.weights.assign import AssignReport, assign_weights, describe
from sharpeye.models.weights.weight_files import read_weight_file

Array = np.ndarray[Any, Any]

SIDE = 75
SHAPE = (SIDE, SIDE, 3)
OPTIONS: dict[str, Any] = {"weights": None, "input_shape": SHAPE}

# Of MobileNet, unless the name says otherwise.
WITH_TOP = ("full.weights.h5", "full.keras", "full.h5", "model.h5")
WITHOUT_TOP = ("bare.weights.h5", "bare.keras", "bare.h5", "nameless.h5")
INNER = ("inner.keras", "inner.h5")
INCEPTION = ("inception.weights.h5", "inception.h5")
RENAMED = "renamed_mobilenet_v2.h5"


def scramble(model: Any) -> Any:
    """Make the arrays of each batch norm differ, so that a mix-up is noticed."""
    random = np.random.default_rng(0)
    for layer in model.layers:
        if type(layer).__name__ == "BatchNormalization":
            layer.set_weights([random.uniform(0.5, 1.5, w.shape) for w in layer.weights])
    return model


def save_legacy(model: Any, file: Path) -> None:
    """The older layout of HDF5, as `save_weights` of Keras 2 wrote it."""
    from keras.src.legacy.saving.legacy_h5_format import save_weights_to_hdf5_group

    with h5py.File(file, "w") as opened:
        save_weights_to_hdf5_group(opened, model)


def save_as_renamed(model: Any, file: Path) -> None:
    """Save a model with other layer names than keras.applications gives."""
    import keras

    numbers = iter(range(1000))
    renamed = keras.models.clone_model(
        model,
        clone_function=lambda layer: type(layer).from_config(
            layer.get_config() | {"name": f"mobl{next(numbers)}_conv"}
        ),
    )
    renamed.set_weights(model.get_weights())
    save_legacy(renamed, file)


def save_inside(bare: Any, folder: Path) -> None:
    """Save a classifier that contains `bare` as one of its layers."""
    import keras

    outer = keras.Sequential(
        [
            keras.Input(SHAPE),
            keras.layers.Normalization(mean=[0.1] * 3, variance=[2.0] * 3),
            bare,
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(5, name="mine"),
        ]
    )
    outer.compile("adam", "mse")
    for name in INNER:
        outer.save(folder / name)


def copy_nameless(source: Path, file: Path) -> None:
    """Copy a file without the names of its layers, as older versions of Keras 3 wrote it."""
    with h5py.File(source) as old, h5py.File(file, "w") as new:
        old.copy("layers", new)
        for layer in new["layers"]:
            del new["layers"][layer]["vars"].attrs["name"]


def copy_with_other_shape(source: Path, file: Path) -> None:
    """Copy a file in which one layer of the backbone has another shape."""
    with h5py.File(source) as old, h5py.File(file, "w") as new:
        for key in old:
            old.copy(key, new)
        new.attrs["layer_names"] = list(old.attrs["layer_names"])
        group = new["conv_pw_3"]
        (weight,) = group.attrs["weight_names"]
        del group[weight]
        group[weight] = np.zeros((1, 1, 7, 9), "float32")
        del group.attrs["weight_names"]
        group.attrs["weight_names"] = [weight]


class LazyModels(dict[str, Any]):
    """Models by name; those that a slow test alone needs are built when it asks for them."""

    def __init__(self, models: dict[str, Any], **builders: Callable[[], Any]) -> None:
        super().__init__(models)
        self._builders = builders

    def __missing__(self, name: str) -> Any:
        self[name] = self._builders[name]()
        return self[name]


@pytest.fixture(scope="module")
def sources(keras: Any) -> LazyModels:
    """The networks of keras.applications that the files are saved from."""
    apps = keras.applications
    full = scramble(apps.MobileNet(alpha=0.25, classifier_activation=None, **OPTIONS))
    bare = apps.MobileNet(alpha=0.25, include_top=False, **OPTIONS)
    for layer in bare.layers:
        layer.set_weights(full.get_layer(layer.name).get_weights() if layer.weights else [])
    bare_options = OPTIONS | {"include_top": False, "pooling": "avg"}
    models = {
        "full": full,
        "bare": bare,
        "half": apps.MobileNet(alpha=0.5, include_top=False, **OPTIONS),
        "mobilenet_v2": scramble(apps.MobileNetV2(alpha=0.35, **bare_options)),
    }
    return LazyModels(models, inception=lambda: scramble(apps.InceptionV3(**bare_options)))


@pytest.fixture(scope="module")
def folder(sources: LazyModels, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All files."""
    folder = tmp_path_factory.mktemp("weights")
    for name in ("full", "bare", "half"):
        sources[name].save_weights(folder / f"{name}.weights.h5")
        save_legacy(sources[name], folder / f"{name}.h5")
    for name in ("full", "bare"):
        sources[name].save(folder / f"{name}.keras")
    sources["full"].save(folder / "model.h5")
    save_as_renamed(sources["mobilenet_v2"], folder / RENAMED)
    save_inside(sources["bare"], folder)
    copy_nameless(folder / "bare.weights.h5", folder / "nameless.h5")
    copy_with_other_shape(folder / "bare.h5", folder / "other_shape.h5")
    return folder


@pytest.fixture(scope="module")
def targets(keras: Any) -> LazyModels:
    """The models that the files are loaded into."""

    def build(name: str) -> Any:
        return get_spec(name).build(SIDE, SIDE)  # type: ignore[misc]

    models = {
        "mobilenet": build("mobilenet_0.25_128"),
        "mobilenet_v2": build("mobilenet_v2_0.35_96"),
    }
    return LazyModels(models, inception=lambda: build("inception_v3"))


def save_inception(sources: LazyModels, folder: Path) -> None:
    if not (folder / INCEPTION[-1]).exists():
        sources["inception"].save_weights(folder / INCEPTION[0])
        save_legacy(sources["inception"], folder / INCEPTION[1])


Load = Callable[[str], AssignReport]


@pytest.fixture
def load(folder: Path, sources: LazyModels, targets: LazyModels) -> Load:
    """Loads a file into its model, whose weights were all 0 before."""

    def run(name: str) -> AssignReport:
        if name in INCEPTION:
            save_inception(sources, folder)
        model = targets[target_of(name)]
        for variable in model.weights:
            variable.assign(np.zeros(variable.shape))
        return assign_weights(model, read_weight_file(folder / name))

    return run


def target_of(name: str) -> str:
    return "inception" if name in INCEPTION else "mobilenet_v2" if name == RENAMED else "mobilenet"


# --- files that fit ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "source", "matched"),
    [
        *((name, "full", 55) for name in WITH_TOP),
        *((name, "bare", 54) for name in (*WITHOUT_TOP, *INNER)),
        *(pytest.param(name, "inception", 188, marks=pytest.mark.slow) for name in INCEPTION),
        (RENAMED, "mobilenet_v2", 104),
    ],
)
def test_a_loaded_model_computes_what_the_saved_one_computes(
    name: str, source: str, matched: int, load: Load, sources: Any, targets: Any
) -> None:
    report = load(name)
    pixels = np.random.default_rng(1).integers(0, 256, (2, *SHAPE)).astype("float32")
    outputs = targets[target_of(name)](pixels)
    expected = np.asarray(sources[source](pixels / 127.5 - 1))
    if expected.ndim == 4:
        expected = expected.mean((1, 2))
    output = np.asarray(outputs["logits" if name in WITH_TOP else "features"])
    assert np.abs(output - expected).max() < 1e-4 * np.abs(expected).max()

    line = describe(Path(name), report)
    assert line.startswith(f"weights from {name}: {matched} layers matched, missing: ")
    if name in INNER:  # The layers around the inner model are unused.
        assert report.unused[-1] == "mine"
    elif name in WITH_TOP:
        assert line.endswith("missing: none, unused: none")
    elif name != RENAMED:
        top = "predictions" if name in INCEPTION else "conv_preds"
        assert line.endswith(f"missing: {top} (the ImageNet classifier), unused: none")


# --- files that do not ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "reasons"),
    [
        (
            "other_shape.h5",
            (
                r"lacks a part of .*: 134 of 135 weight arrays matched, missing: ",
                r"missing: conv_pw_3 1x1x32x32 \(1x1x7x9 in the file\); give the weights",
            ),
        ),
        ("half.h5", (r"conv1 3x3x3x8 \(3x3x3x16 in the file\), .* and 51 more; give the weights",)),
        (
            "half.weights.h5",
            (r"is of another network than mobilenet_0\.25_75: 0 of 135 weight",),
        ),
        (RENAMED, (r"is of another network than .* use --weights imagenet",)),
        pytest.param(INCEPTION[0], (r"is of another network than",), marks=pytest.mark.slow),
    ],
)
def test_weights_of_another_network_are_refused_and_change_nothing(
    name: str, reasons: tuple[str, ...], folder: Path, sources: LazyModels, targets: Any
) -> None:
    if name in INCEPTION:
        save_inception(sources, folder)
    model = targets["mobilenet"]
    before = model.get_weights()
    with pytest.raises(ModelError) as caught:
        assign_weights(model, read_weight_file(folder / name))
    message = str(caught.value)
    assert message.startswith(str(folder / name))
    assert "\n" not in message
    for reason in reasons:
        assert re.search(reason, message), message
    assert all(map(np.array_equal, before, model.get_weights()))


@pytest.mark.parametrize("name", ["bare.keras", "inner.keras"])
def test_archives_without_layer_names_take_them_from_the_config(
    name: str, folder: Path, tmp_path: Path
) -> None:
    with zipfile.ZipFile(folder / name) as archive:
        archive.extractall(tmp_path)
    with h5py.File(tmp_path / "model.weights.h5", "a") as file:
        file.visititems(lambda _, item: item.attrs.pop("name", None))
    with zipfile.ZipFile(tmp_path / name, "w") as archive:
        for member in ("config.json", "model.weights.h5"):
            archive.write(tmp_path / member, member)
    nameless, named = (read_weight_file(path / name) for path in (tmp_path, folder))
    for scope, expected in zip(nameless.scopes, named.scopes, strict=True):
        assert [layer.name for layer in scope] == [layer.name for layer in expected]


@pytest.mark.parametrize("name", ["bare.h5", "bare.weights.h5", "bare.keras"])
def test_a_file_cut_anywhere_is_refused(name: str, folder: Path, tmp_path: Path) -> None:
    data = (folder / name).read_bytes()
    cut = tmp_path / name
    for part in range(20):
        cut.write_bytes(data[: len(data) * part // 20])
        with pytest.raises(ModelError, match=re.escape(str(cut))):
            read_weight_file(cut)
