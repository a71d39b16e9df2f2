"""What training says of the images: the gravest first, three lines at the most."""

import logging
from dataclasses import replace
from pathlib import Path

import pytest

from sharpeye.core.config import Config
from sharpeye.core.types import Rejected, Sample, SampleSet, Split
from sharpeye.jobs.train.data_notes import data_notes, log_notes


def image(label: str, number: int, digest: str = "", part: Split = "train") -> Sample:
    path = f"{label}/{number}.jpg"
    return Sample(path=path, file=Path(path), label=label, split=part, sha256=digest or path)


def test_copies_names_and_small_classes_are_said() -> None:
    samples = [image("Rose", n, part="test" if n < 4 else "train") for n in range(30)]
    samples += [image("rose ", n) for n in range(10)]
    samples += [image("tulip", 0, "Rose/0.jpg"), image("tulip", 1), image("tulip", 2)]
    rejected = (Rejected("tulip/x.jpg", "empty"),)
    near = (("Rose/1.jpg", "Rose/9.jpg"), ("rose /1.jpg", "rose /2.jpg"))
    labels = ("Rose", "rose ", "tulip")
    every = SampleSet(
        Path(), tuple(samples), labels, rejected, given_splits=True, near_duplicates=near
    )
    notes = data_notes(every, Config())
    starts = (
        "1 images are in more",
        "There is a group",
        "The same image",
        "The classes 'Rose'",
    )
    assert [note.startswith(start) for note, start in zip(notes, starts, strict=False)] == [
        True
    ] * 4
    assert any("3 to 30 images (tulip fewest)" in note for note in notes)
    assert any("tulip/x.jpg: empty" in note for note in notes)


@pytest.mark.parametrize("name", ["unknown", "Unknown ", "UNKNOWN"])
def test_a_class_named_like_a_verdict_is_pointed_out(name: str) -> None:
    samples = tuple(image(label, n) for label in ("cat", name) for n in range(20))
    (note, *_) = data_notes(SampleSet(Path(), samples, ("cat", name)), Config())
    assert note.startswith(f"A class is named {name!r}") and "name the class otherwise" in note
    plain = tuple(image(label, n) for label in ("cat", "dog") for n in range(20))
    notes = data_notes(SampleSet(Path(), plain, ("cat", "dog")), Config())
    assert not [note for note in notes if "A class is named" in note]


def test_three_lines_are_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="sharpeye"):
        log_notes([f"note {number}" for number in range(6)])
    assert [r.message for r in caplog.records] == ["note 0", "note 1", "note 2"]


def test_blank_images_are_said_first_by_class_and_with_names() -> None:
    samples = [image("black", n) for n in range(5)] + [image("mixed", n) for n in range(9)]
    blank = frozenset(s.sha256 for s in samples if s.label == "black" or s.path == "mixed/3.jpg")
    dataset = SampleSet(Path(), tuple(samples), ("black", "mixed"), blank=blank)
    first = data_notes(dataset, Config())[0]
    assert first.startswith(
        "6 images are blank, of nearly one colour (5 of 5 in black, 1 of 9 in mixed), such as "
        "black/0.jpg, black/1.jpg, black/2.jpg: "
    )
    assert "save them with 8 bits" in first


def test_single_plain_images_are_not_said() -> None:
    samples = [image("sky", n) for n in range(40)] + [image("sea", n) for n in range(9)]
    few = frozenset(s.sha256 for s in samples[:3])
    notes = data_notes(SampleSet(Path(), tuple(samples), ("sea", "sky"), blank=few), Config())
    assert not [note for note in notes if "blank" in note]


def test_a_share_of_test_images_is_without_effect_in_given_splits() -> None:
    samples = tuple(image(label, n) for label in "ab" for n in range(9))
    dataset = SampleSet(Path(), samples, ("a", "b"), given_splits=True)
    note = "The folder gives its test images, so split.test has no effect."
    assert note in data_notes(dataset, Config().replace({"split.test": 0.1}))
    assert note not in data_notes(dataset, Config())


def test_the_range_of_wide_images_is_said() -> None:
    samples = [replace(image("a", n), bit_depth=12) for n in range(4)] + [image("b", 0)]
    dataset = SampleSet(Path(), tuple(samples), ("a", "b"))
    notes = data_notes(dataset, Config())
    assert any(note.startswith("Images of more than 8 bits are read as 12 bits") for note in notes)
    plain = replace(dataset, samples=(image("a", 0), image("b", 0)))
    assert not any("bits" in note for note in data_notes(plain, Config()))
