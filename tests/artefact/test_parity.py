"""The written model is compared with training: probabilities and boxes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from localizer import scenes, write_localizer
from sharpeye.artefact.parity import BOX_PARITY_LIMIT, verify_parity
from sharpeye.artefact.session import OpenModel, open_model
from sharpeye.core.types import Sample
from sharpeye.data.digest import add_digests
from sharpeye.data.pascal_voc import scan_voc
from sharpeye.data.sample_image import load_sample
from sharpeye.errors import ModelError

Floats = np.ndarray[Any, Any]


@pytest.fixture
def opened(tmp_path: Path) -> OpenModel:
    return open_model(write_localizer(tmp_path / "model.onnx", fit="stretch"))


@pytest.fixture
def samples(tmp_path: Path) -> tuple[Sample, ...]:
    return add_digests(scan_voc(scenes(tmp_path / "scenes", per_class=6)), workers=2).samples


def predict(model: OpenModel, samples: tuple[Sample, ...]) -> tuple[Floats, Floats]:
    pixels = np.stack([load_sample(sample, model.manifest.input) for sample in samples])
    outputs = model.graph.run(pixels)
    return outputs["probs"], outputs["box"]


def test_equal_outputs_are_counted(opened: OpenModel, samples: tuple[Sample, ...]) -> None:
    probs, boxes = predict(opened, samples)
    boxes = boxes + np.float32(BOX_PARITY_LIMIT / 2)
    proof = verify_parity(opened, samples, probs, boxes=boxes)
    assert proof["pictures"] == 14  # of 18
    assert proof["top1_agreement"] == 1
    assert proof["max_difference"] < 1e-5
    assert proof["max_box_difference"] == pytest.approx(BOX_PARITY_LIMIT / 2, rel=1e-3)
    assert "max_box_difference" not in verify_parity(opened, samples, probs)


def test_another_box_than_training_computed_is_refused(
    opened: OpenModel, samples: tuple[Sample, ...]
) -> None:
    probs, boxes = predict(opened, samples)
    boxes[3, 2] += 2 * BOX_PARITY_LIMIT
    with pytest.raises(ModelError, match=r"training did: an edge of a box differs by 0.01, more"):
        verify_parity(opened, samples, probs, boxes=boxes)
    boxes[3, 2] = np.nan
    with pytest.raises(ModelError, match="an edge of a box differs by nan"):
        verify_parity(opened, samples, probs, boxes=boxes)


def test_other_probabilities_than_training_computed_are_refused(
    opened: OpenModel, samples: tuple[Sample, ...]
) -> None:
    probs, boxes = predict(opened, samples)
    with pytest.raises(ModelError, match="a probability differs by"):
        verify_parity(opened, samples, probs[:, ::-1], boxes=boxes)
