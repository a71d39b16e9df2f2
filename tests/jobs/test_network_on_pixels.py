"""A network that was trained on pixels: its head, its predictions, its arrays."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from nets import SIDE, make_arrays, tiny_config
from runner import hard_photos, temporaries
from sharpeye.core.config import Config
from sharpeye.core.metrics import log_loss
from sharpeye.core.numerics import softmax
from sharpeye.core.types import InputSpec, Sample, SampleSet
from sharpeye.errors import DataError
from sharpeye.jobs.sweep.worker import load_arrays
from sharpeye.jobs.train.network_on_pixels import calibrate, write_features
from sharpeye.jobs.train.resolve import resolve
from sharpeye.learn.nets.from_scratch import fit_from_scratch
from sharpeye.learn.nets.loop import FittedNetwork
from sharpeye.learn.nets.training_arrays import TrainingArrays, build_arrays
from sharpeye.models.registry import get_spec

SPEC = InputSpec(SIDE, SIDE)


@pytest.fixture(scope="module")
def arrays() -> TrainingArrays:
    return make_arrays()


@pytest.fixture(scope="module")
def network(arrays: TrainingArrays) -> FittedNetwork:
    """A network that was trained for some epochs. Not to be changed."""
    config = tiny_config({"train.epochs": 4, "train.learning_rate": 0.01})
    return fit_from_scratch(get_spec("cnn"), config, arrays)


def folder_config(folder: Path) -> Config:
    changes = {"model.name": "cnn", "model.image_size": SIDE, "data.folder": str(folder)}
    return resolve(Config().replace(changes))


# --- what comes out ------------------------------------------------------------------------------


def test_the_head_on_the_features_answers_like_the_network(
    network: FittedNetwork, arrays: TrainingArrays, tmp_path: Path
) -> None:
    file = tmp_path / "features.onnx"
    backbone = write_features(network, "cnn", SPEC, file=file)
    assert backbone.graph_file == file and len(backbone.graph_sha256) == 64
    assert backbone.input == SPEC and temporaries(tmp_path) == []
    head, probs, boxes, _ = calibrate(network, arrays)
    assert boxes == {}
    session = onnxruntime.InferenceSession(file)
    for part in ("validation", "test"):
        images = arrays.pixels[arrays.indices[part]]
        (features,) = session.run(["features"], {"image": images})
        logits = features @ head.final_head.weights + head.final_head.bias
        np.testing.assert_allclose(softmax(logits.astype(np.float64)), probs[part], atol=1e-4)


def test_the_temperature_is_the_best_on_validation(
    network: FittedNetwork, arrays: TrainingArrays
) -> None:
    head, probs, *_ = calibrate(network, arrays)
    predictions = network.engine.predict(arrays.pixels[arrays.indices["validation"]])
    logits = predictions["logits"].astype(np.float64)
    targets = arrays.targets["validation"]
    result = log_loss(targets, probs["validation"])
    assert head.final_head.temperature > 0
    for factor in (0.5, 0.9, 1.1, 2.0):
        other = softmax(logits / (head.final_head.temperature * factor))
        assert log_loss(targets, np.asarray(other)) >= result - 1e-9
    assert result <= network.best_row["validation_log_loss"] + 1e-9
    assert head.history == network.history and head.validation_head is head.final_head


# --- images ------------------------------------------------------------------------------------


def test_images_are_decoded_split_and_told_apart(tmp_path: Path) -> None:
    data = hard_photos(tmp_path / "data", per_class=10)
    (data / "ash" / "broken.png").write_bytes(b"\x89PNG no image")
    samples, arrays = load_arrays(folder_config(data))
    assert len(samples) == 30
    assert [r.path for r in samples.rejected] == ["ash/broken.png"]
    assert arrays.class_names == ("ash", "birch", "cedar")
    assert sum(len(indices) for indices in arrays.indices.values()) == 30
    for split, indices in arrays.indices.items():
        own = [s for s in samples if s.split == split]
        assert [arrays.class_names[i] for i in arrays.targets[split]] == [s.label for s in own]
        assert len(indices) == len(own)
    everything = np.concatenate(list(arrays.indices.values()))
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
    built = build_arrays(samples, pixels, {"x": 1, "y": 0}, spec=InputSpec(4, 4))
    assert built.indices["train"].tolist() == [1, 1] and built.targets["train"].tolist() == [0, 0]
    assert built.indices["test"].tolist() == [0] and built.targets["test"].tolist() == [1]
    assert len(built.pixels[built.indices["validation"]]) == 0
    np.testing.assert_array_equal(built.pixels[built.indices["train"]], pixels[[1, 1]])


def test_too_few_readable_images_are_refused(tmp_path: Path) -> None:
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        (tmp_path / label / "1.png").write_bytes(b"no image")
    with pytest.raises(DataError, match="no class has images that can be read"):
        load_arrays(folder_config(tmp_path))
