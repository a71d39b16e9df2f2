"""The written model is compared with what training said: of classes and of boxes."""

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
    found = add_digests(scan_voc(scenes(tmp_path / "scenes", per_class=6)), workers=2)
    return found.samples


def said(model: OpenModel, samples: tuple[Sample, ...]) -> tuple[Floats, Floats]:
    pixels = np.stack([load_sample(sample, model.manifest.input) for sample in samples])
    answers = model.graph.run(pixels)
    return answers["probs"], answers["box"]


def test_answers_that_agree_are_counted(opened: OpenModel, samples: tuple[Sample, ...]) -> None:
    probs, boxes = said(opened, samples)
    boxes = boxes + np.float32(BOX_PARITY_LIMIT / 2)
    found = verify_parity(opened, samples, probs, boxes)
    assert found["pictures"] == 14  # of 18
    assert found["top1_agreement"] == 1
    assert found["max_difference"] < 1e-5
    assert found["max_box_difference"] == pytest.approx(BOX_PARITY_LIMIT / 2, rel=1e-3)
    assert "max_box_difference" not in verify_parity(opened, samples, probs)


def test_a_box_beside_the_one_of_training_is_refused(
    opened: OpenModel, samples: tuple[Sample, ...]
) -> None:
    probs, boxes = said(opened, samples)
    boxes[3, 2] += 2 * BOX_PARITY_LIMIT
    with pytest.raises(ModelError, match=r"otherwise than training did: box differs by 0.01, more"):
        verify_parity(opened, samples, probs, boxes)
    boxes[3, 2] = np.nan
    with pytest.raises(ModelError, match="box differs by nan"):
        verify_parity(opened, samples, probs, boxes)


def test_a_class_other_than_the_one_of_training_is_refused(
    opened: OpenModel, samples: tuple[Sample, ...]
) -> None:
    probs, boxes = said(opened, samples)
    with pytest.raises(ModelError, match="probs differs by"):
        verify_parity(opened, samples, probs[:, ::-1], boxes)
