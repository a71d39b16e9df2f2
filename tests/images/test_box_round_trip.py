"""A box is converted from Pascal VOC to the model's input, augmented or not, and back."""

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from localizer import LABELS, scene
from sharpeye.core.config import AugmentConfig
from sharpeye.core.types import Box, InputSpec, ResizeMode, Sample
from sharpeye.data.pascal_voc import scan_voc
from sharpeye.data.sample_image import load_sample
from sharpeye.images.boxes import from_input, to_input
from sharpeye.images.voc_xml import parse_voc, voc_object, write_voc
from sharpeye.jobs.augment_folder import augment_folder
from sharpeye.learn.nets.augmentation import Augmentation
from sharpeye.learn.nets.backend import load_backend

SIZES = [(97, 41), (640, 480), (33, 200), (64, 64)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three images of each size: objects in the middle, in a corner, and a narrow one."""
    folder = tmp_path_factory.mktemp("round-trip") / "scenes"
    for number, (width, height) in enumerate(SIZES):
        across, down = width // 8, height // 8
        edges = {
            "blue": (2 * across, 3 * down, 6 * across + 1, 7 * down + 1),
            "green": (0, 0, 3 * across + 2, 3 * down + 2),
            "red": (width - 3 * across, 1, width, height - down),
        }
        for label in LABELS:
            scene(folder / f"{label}_{number}.png", label, (width, height), edges[label], xml=True)
    return folder


def corners_of(file: Path) -> list[int]:
    (item,) = parse_voc(file.read_bytes(), file.name).objects
    return [item.xmin, item.ymin, item.xmax, item.ymax]


def written(box: Box, sample: Sample, folder: Path) -> list[int]:
    """The corners in a Pascal VOC file when this box is written."""
    assert sample.size is not None
    data = write_voc(
        "scenes", "1.png", sample.size, objects=[voc_object(sample.label, box, sample.size)]
    )
    (folder / "again.xml").write_bytes(data)
    return corners_of(folder / "again.xml")


def as_arrays(samples: Any, spec: InputSpec) -> tuple[Any, Any]:
    """Images float32[N,H,W,C] and boxes float32[N,4] as a network takes them."""
    pixels = np.stack([load_sample(sample, spec) for sample in samples]).astype(np.float32)
    boxes = np.array([to_input(s.box, s.size, spec) for s in samples], np.float32)
    return pixels, boxes


@pytest.mark.parametrize("fit", ["stretch", "pad"])
@pytest.mark.parametrize(("height", "width"), [(224, 224), (63, 96)])
def test_the_models_input_and_back_is_the_same_annotation(
    fit: ResizeMode, height: int, width: int, folder: Path, tmp_path: Path
) -> None:
    spec = InputSpec(height, width, fit)
    samples = scan_voc(folder).samples
    assert len(samples) == 12
    _, boxes = as_arrays(samples, spec)
    for sample, box in zip(samples, boxes, strict=True):
        assert sample.size is not None
        in_image = from_input(cast(Box, tuple(map(float, box))), sample.size, spec)
        assert written(in_image, sample, tmp_path) == corners_of(sample.file.with_suffix(".xml"))


@pytest.mark.parametrize("fit", ["stretch", "pad"])
def test_changed_in_training_and_changed_back_is_the_same_annotation(
    fit: ResizeMode, folder: Path, tmp_path: Path
) -> None:
    """The object lies where its box says after augmentation, and undone it is the annotation."""
    load_backend()
    spec = InputSpec(96, 128, fit)
    samples = scan_voc(folder).samples
    pixels, boxes = as_arrays(samples, spec)
    count, random = len(samples), np.random.default_rng(0)
    augment = Augmentation(AugmentConfig(flip=True, shift=20), spec.height, spec.width, fill=0.0)
    drawn = augment.draw(count, random, boxes)
    targets = np.zeros((count, 3), np.float32)
    changed, _, moved = (np.asarray(x) for x in augment.apply(pixels, targets, drawn, boxes=boxes))
    assert drawn["flip"].any() and not drawn["flip"].all() and (np.abs(moved - boxes) > 0.02).any()
    channels = {"red": 0, "green": 1, "blue": 2}
    for sample, image, box in zip(samples, changed, moved, strict=True):
        channel = channels[sample.label]
        inside = image[..., channel] - image[..., channel - 1] > 100
        rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
        visible = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
        np.testing.assert_allclose(box * [128, 96, 128, 96], visible, atol=1)
    # Back: the shift came last. It is such that the whole object stays in sight.
    for box, start, flip, shift, sample in zip(
        moved, boxes, drawn["flip"], drawn["shift"], samples, strict=True
    ):
        down, across = np.asarray(shift, float) / [96, 128]
        back = np.asarray(box, float) - [across, down, across, down]
        if flip:
            back[[0, 2]] = 1 - back[[2, 0]]
        np.testing.assert_allclose(back, start, atol=1e-5)
        assert sample.size is not None
        in_image = from_input(cast(Box, tuple(back.tolist())), sample.size, spec)
        again = written(in_image, sample, tmp_path)
        np.testing.assert_allclose(again, corners_of(sample.file.with_suffix(".xml")), atol=1)


def test_an_augmented_folder_is_trained_on_where_its_annotations_say(
    folder: Path, tmp_path: Path
) -> None:
    augment_folder(folder, tmp_path / "more")
    samples = scan_voc(tmp_path / "more").samples
    assert len(samples) == 12 * 8
    spec = InputSpec(120, 120, "stretch")
    _, boxes = as_arrays(samples, spec)
    for sample, box in zip(samples, boxes, strict=True):
        assert sample.size is not None
        in_image = from_input(cast(Box, tuple(map(float, box))), sample.size, spec)
        expected = corners_of(sample.file.with_suffix(".xml"))
        np.testing.assert_allclose(written(in_image, sample, tmp_path), expected, atol=1)
