"""The way from scratch: how pixels are scaled, which rate is taken, and the head that comes out."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from nets import SIDE, make_arrays, tiny_config
from runner import hard_photos, temporaries
from sharpeye.core.config import Config
from sharpeye.core.metrics import log_loss
from sharpeye.core.types import InputSpec, Sample, SampleSet
from sharpeye.data.image_folder import scan_folder
from sharpeye.errors import DataError
from sharpeye.jobs.train import scratch
from sharpeye.jobs.train.scratch import (
    calibrated,
    fit_from_scratch,
    peak_rate,
    scaling,
    write_features,
)
from sharpeye.learn.heads.logistic import softmax
from sharpeye.learn.nets.loop import FittedNetwork
from sharpeye.learn.nets.training_arrays import TrainingArrays, build_arrays
from sharpeye.models.registry import get_spec

SPEC = InputSpec(SIDE, SIDE)


@pytest.fixture(scope="module")
def material() -> TrainingArrays:
    return make_arrays()


@pytest.fixture(scope="module")
def net(material: TrainingArrays) -> FittedNetwork:
    """A network that learned for some epochs. Not to be changed."""
    config = tiny_config({"train.epochs": 4, "train.learning_rate": 0.01})
    return fit_from_scratch(get_spec("cnn"), config, material)


# --- scaling -------------------------------------------------------------------------------------


def scaled(material: TrainingArrays, kind: str) -> Any:
    scale, offset = scaling(material, kind)
    assert len(scale) == len(offset) == material.input.channels
    return material.pixels[material.indices["train"]] * np.array(scale) + np.array(offset)


def test_data_scaling_makes_mean_0_and_deviation_1_of_each_channel(
    material: TrainingArrays,
) -> None:
    found = scaled(material, "data")
    np.testing.assert_allclose(found.mean(axis=(0, 1, 2)), 0, atol=1e-9)
    np.testing.assert_allclose(found.std(axis=(0, 1, 2)), 1, rtol=1e-9)


def test_data_scaling_looks_at_training_images_only(material: TrainingArrays) -> None:
    pixels = material.pixels.copy()
    pixels[material.indices["validation"]] = 255
    pixels[material.indices["test"]] = 0
    other = TrainingArrays(
        pixels, material.indices, material.targets, material.class_names, material.input
    )
    assert scaling(other, "data") == scaling(material, "data")


@pytest.mark.parametrize(("kind", "low", "high"), [("unit", 0, 1), ("signed", -1, 1)])
def test_fixed_scalings_take_0_to_255_to_their_range(
    kind: str, low: float, high: float, material: TrainingArrays
) -> None:
    scale, offset = scaling(material, kind)
    np.testing.assert_allclose(offset, low)
    np.testing.assert_allclose(255 * np.array(scale) + offset, high)


def test_imagenet_scaling_is_that_of_its_means_and_deviations(material: TrainingArrays) -> None:
    scale, offset = (np.array(values) for values in scaling(material, "imagenet"))
    np.testing.assert_allclose(255 * np.array([0.485, 0.456, 0.406]) * scale + offset, 0, atol=1e-9)
    np.testing.assert_allclose(1 / scale / 255, [0.229, 0.224, 0.225])


@pytest.mark.parametrize("kind", ["data", "unit", "signed", "imagenet"])
def test_grey_images_have_one_constant(kind: str, material: TrainingArrays) -> None:
    grey = TrainingArrays(
        material.pixels[..., :1],
        material.indices,
        material.targets,
        material.class_names,
        InputSpec(SIDE, SIDE, channels=1),
    )
    assert [len(values) for values in scaling(grey, kind)] == [1, 1]


def test_images_of_one_colour_do_not_divide_by_nothing(material: TrainingArrays) -> None:
    flat = TrainingArrays(
        np.full_like(material.pixels, 7),
        material.indices,
        material.targets,
        material.class_names,
        material.input,
    )
    assert np.isfinite(scaled(flat, "data")).all()


# --- the rate ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, 1.0),
        ({"train.optimizer": "adam"}, 1.0),
        ({"train.optimizer": "sgd"}, 50.0),
    ],
)
def test_the_rate_is_the_models_own_and_larger_for_sgd(
    changes: dict[str, Any], expected: float
) -> None:
    spec = get_spec("lenet5")
    assert peak_rate(spec, Config().replace(changes)) == expected * spec.learning_rate
    given = Config().replace(changes | {"train.learning_rate": 0.5})
    assert peak_rate(spec, given) == 0.5


# --- what comes out ------------------------------------------------------------------------------


def test_the_head_on_the_features_answers_like_the_network(
    net: FittedNetwork, material: TrainingArrays, tmp_path: Path
) -> None:
    file = tmp_path / "features.onnx"
    backbone = write_features(net, "cnn", SPEC, file)
    assert backbone.graph_file == file and len(backbone.graph_sha256) == 64
    assert backbone.input == SPEC and temporaries(tmp_path) == []
    head, probs, boxes = calibrated(net, material)
    assert boxes == {}
    session = onnxruntime.InferenceSession(file)
    for part in ("validation", "test"):
        images = material.pixels[material.indices[part]]
        (features,) = session.run(["features"], {"image": images})
        logits = features @ head.final_head.weights + head.final_head.bias
        np.testing.assert_allclose(softmax(logits.astype(np.float64)), probs[part], atol=1e-4)


def test_the_temperature_is_the_best_on_validation(
    net: FittedNetwork, material: TrainingArrays
) -> None:
    head, probs, _ = calibrated(net, material)
    answers = net.engine.predict(material.pixels[material.indices["validation"]])
    logits = answers["logits"].astype(np.float64)
    truth = material.targets["validation"]
    found = log_loss(truth, probs["validation"])
    assert head.final_head.temperature > 0
    for factor in (0.5, 0.9, 1.1, 2.0):
        other = softmax(logits / (head.final_head.temperature * factor))
        assert log_loss(truth, np.asarray(other)) >= found - 1e-9
    assert found <= net.best["validation_log_loss"] + 1e-9
    assert head.history == net.history and head.validation_head is head.final_head


# --- images ------------------------------------------------------------------------------------


def test_images_are_decoded_split_and_told_apart(tmp_path: Path) -> None:
    data = hard_photos(tmp_path / "data", per_class=10)
    (data / "ash" / "broken.png").write_bytes(b"\x89PNG no picture")
    told: list[SampleSet] = []
    samples, material = scratch.prepare(
        scan_folder(data), InputSpec(SIDE, SIDE), Config(), told.append
    )
    assert told == [samples] and len(samples) == 30
    assert [r.path for r in samples.rejected] == ["ash/broken.png"]
    assert material.class_names == ("ash", "birch", "cedar")
    assert sum(len(rows) for rows in material.indices.values()) == 30
    for part, rows in material.indices.items():
        own = [s for s in samples if s.split == part]
        assert [material.class_names[i] for i in material.targets[part]] == [s.label for s in own]
        assert len(rows) == len(own)
    everything = np.concatenate(list(material.indices.values()))
    assert sorted(everything) == list(range(30))


def test_copies_of_an_image_share_a_row() -> None:
    pixels = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3)

    def sample(path: str, label: str, part: Any, digest: str) -> Sample:
        return Sample(path, Path(path), label, part, digest)

    samples = SampleSet(
        root=Path(),
        samples=(
            sample("a/1", "a", "train", "x"),
            sample("a/2", "a", "train", "x"),
            sample("b/1", "b", "test", "y"),
        ),
        class_names=("a", "b"),
    )
    found = build_arrays(samples, pixels, {"x": 1, "y": 0}, InputSpec(4, 4))
    assert found.indices["train"].tolist() == [1, 1] and found.targets["train"].tolist() == [0, 0]
    assert found.indices["test"].tolist() == [0] and found.targets["test"].tolist() == [1]
    assert len(found.pixels[found.indices["validation"]]) == 0
    np.testing.assert_array_equal(found.pixels[found.indices["train"]], pixels[[1, 1]])


def test_too_few_readable_images_are_refused(tmp_path: Path) -> None:
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        (tmp_path / label / "1.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match="no class has pictures that can be read"):
        scratch.prepare(scan_folder(tmp_path), SPEC, Config())
