"""The split of TensorFlow-for-Poets: its numbers to the last digit, and no empty split."""

from pathlib import Path

import pytest

from sharpeye.core.types import Sample, SampleSet
from sharpeye.data.split import assign_splits
from sharpeye.data.split_rules import PathRule, SplitFractions
from sharpeye.errors import DataError

TENTHS = SplitFractions(0.1, 0.1)


def make_sample(path: str, content: str = "") -> Sample:
    digest = f"{hash((path, content)) & (2**256 - 1):064x}" if not content else content * 64
    return Sample(path, Path(path), path.split("/")[0], sha256=digest)


def as_set(samples: list[Sample]) -> SampleSet:
    labels = tuple(sorted({s.label for s in samples}))
    return SampleSet(Path("data"), tuple(samples), labels)


# Made by running retrain.py's own arithmetic.
VECTORS = [
    ("data", "cat/000.jpg", 89.389130, "train"),
    ("data", "cat/001.jpg", 15.345597, "test"),
    ("data", "cat/005.jpg", 2.263334, "validation"),
    ("data", "cat/013.jpg", 0.207324, "validation"),
    ("/x", "a/img_nohash_1.jpg", 20.406017, "train"),
    ("/x", "a/img_nohash_2.jpg", 20.406017, "train"),
]


@pytest.mark.parametrize(("folder", "path", "number", "split"), VECTORS)
def test_numbers_of_the_original(folder: str, path: str, number: float, split: str) -> None:
    rule = PathRule(folder, TENTHS)
    assert rule.position(make_sample(path)) == pytest.approx(number, abs=1e-6)
    assert rule.split(rule.position(make_sample(path))) == split


def test_a_slash_at_the_end_changes_nothing_another_spelling_does() -> None:
    samples = [make_sample("cat/000.jpg")]
    keys = PathRule("data", TENTHS).keys(samples)
    assert PathRule("data/", TENTHS).keys(samples) == keys
    assert PathRule("./data", TENTHS).keys(samples) != keys


@pytest.mark.parametrize("percent", range(1, 45))
def test_whole_percentages_have_sharp_edges(percent: int) -> None:
    rule = PathRule("data", SplitFractions(percent / 100, percent / 100))
    assert rule.split(percent - 1e-6) == "validation"
    assert rule.split(float(percent)) == "test"
    assert rule.split(2.0 * percent) == "train"


def test_everything_but_small_classes_is_as_the_rule_says() -> None:
    samples = [make_sample(f"{label}/{n:03}.jpg") for label in ("cat", "dog") for n in range(200)]
    rule = PathRule("data", TENTHS)
    done = assign_splits(as_set(samples), TENTHS, rule)
    assert [s.split for s in done] == [rule.split(rule.position(s)) for s in samples]


@pytest.mark.parametrize("count", [3, 4, 5, 10, 20, 25])
def test_no_split_of_a_class_is_empty(count: int) -> None:
    for folder in ("data", "photos", "/srv/pictures", "x"):
        samples = [make_sample(f"{c}/{n}.jpg") for c in "abcdefgh" for n in range(count)]
        rule = PathRule(folder, TENTHS)
        done = assign_splits(as_set(samples), TENTHS, rule)
        for label in done.class_names:
            splits = [s.split for s in done if s.label == label]
            assert set(splits) == {"train", "validation", "test"}, (folder, label)
        # Only as many are placed by hand as there were holes.
        moved = [s for s in done if s.split != rule.split(rule.position(s))]
        holes = sum(
            split not in {rule.split(rule.position(s)) for s in samples if s.label == label}
            for label in done.class_names
            for split in ("train", "validation", "test")
        )
        assert len(moved) == holes


def test_two_images_cannot_fill_three_splits() -> None:
    samples = [make_sample(f"{c}/{n}.jpg") for c in "ab" for n in range(2)]
    with pytest.raises(DataError, match=r"a \(2\), b \(2\)"):
        assign_splits(as_set(samples), TENTHS, PathRule("data", TENTHS))


def test_variations_of_one_photograph_stay_together_and_exact_copies_need_not() -> None:
    samples = [make_sample(f"leaf/{n}_nohash_{i}.jpg") for n in range(30) for i in range(4)]
    samples += [make_sample(f"twig/{n}.jpg", "a" if n < 20 else "") for n in range(40)]
    done = assign_splits(as_set(samples), TENTHS, PathRule("data", TENTHS))
    splits: dict[str, set[str | None]] = {}
    for sample in done:
        splits.setdefault(sample.path.split("_nohash_")[0], set()).add(sample.split)
    assert all(len(group_splits) == 1 for group_splits in splits.values())
    assert len({s.split for s in done if s.sha256 == "a" * 64}) > 1
