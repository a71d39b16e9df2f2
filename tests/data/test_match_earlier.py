"""Earlier images are matched by content and keep their split, and new ones follow them."""

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from sharpeye.core.config import Config
from sharpeye.core.types import Sample, SampleSet, Split
from sharpeye.data.match_earlier import match_earlier
from sharpeye.data.scan import base_folder, merge_sample_sets, scan_folders
from sharpeye.data.split import assign_splits, fractions_to_split
from sharpeye.data.split_rules import ContentRule, SplitFractions
from sharpeye.errors import DataError

SHARES = SplitFractions(0.15, 0.15)
ALL_SPLITS: tuple[Split, ...] = ("test", "validation", "train")
NO_VALIDATION: tuple[Split, ...] = ("test", "train", "train")
NEW = "../new"


def sample(path: str, content: str = "", split: Split | None = None) -> Sample:
    base = NEW if path.startswith(NEW) else ""
    label = path.removeprefix(f"{NEW}/").split("/")[0]
    digest = hashlib.sha256((content or path).encode()).hexdigest()
    return Sample(path, Path(path), label, split, digest, base=base)


def rows(*samples: Sample, split: str = "train") -> list[dict[str, str]]:
    return [
        {"path": s.path, "label": s.label, "part": s.split or split, "sha256": s.sha256}
        for s in samples
    ]


def as_set(*samples: Sample, pinned: bool = False, given: bool = False) -> SampleSet:
    labels = tuple(sorted({s.label for s in samples}))
    paths = frozenset(s.path for s in samples if pinned and not s.base)
    return SampleSet(Path("old"), samples, labels, given_splits=given, pinned=paths)


def splits_of(samples: SampleSet) -> dict[str, Split | None]:
    return {s.path: s.split for s in samples}


# --- which image is which ----------------------------------------------------------------------


def test_images_are_matched_by_content() -> None:
    stays, renamed, gone, changed = (sample(f"rose/{name}") for name in "abcd")
    samples = as_set(
        stays,
        replace(renamed, path="rose/z"),
        sample("rose/d", "other bytes"),
        sample("rose/e"),
        sample("../new/rose/a", "rose/a"),
        sample("../new/rose/f"),
        sample("../new/tulip/g"),
    )
    result = match_earlier(
        rows(stays, renamed, gone, changed, split="test"), samples, NEW, run_name="runs/a"
    )
    assert {then: s.path for then, s in result.earlier.items()} == {
        "rose/a": "rose/a",
        "rose/b": "rose/z",
    }
    assert {s.split for s in result.earlier.values()} == {"test"}
    assert [s.path for s in result.added] == ["../new/rose/f", "../new/tulip/g"]
    assert [s.path for s in result.known] == ["../new/rose/a"]
    assert [s.path for s in result.unlisted] == ["rose/e"]
    assert [(r.path, r.reason) for r in result.missing] == [
        ("rose/c", "was in runs/a and is not there any more"),
        ("rose/d", "has changed since runs/a"),
    ]


def test_what_has_changed_in_the_folder_that_is_added_is_new() -> None:
    """The earlier folder itself may be added again."""
    then, now = sample("rose/a"), sample("rose/a", "other bytes")
    result = match_earlier(
        rows(then, sample("rose/b")), as_set(now, sample("rose/b")), "", run_name="run"
    )
    assert [s.sha256 for s in result.added] == [now.sha256]
    assert (result.missing, result.unlisted) == ((), ())
    assert list(result.earlier) == ["rose/b"]


def test_of_two_copies_each_is_found_and_one_that_is_gone_is_missed() -> None:
    first, second = sample("rose/a", "same"), sample("tulip/a", "same")
    moved = replace(second, path="tulip/b")
    result = match_earlier(rows(first, second), as_set(first, moved), NEW, run_name="run")
    assert {s.path for s in result.earlier.values()} == {"rose/a", "tulip/b"}
    result = match_earlier(rows(first, second), as_set(moved), NEW, run_name="run")
    assert list(result.earlier) == ["rose/a"]  # the bytes are there once
    assert [r.path for r in result.missing] == ["tulip/a"]


def test_a_damaged_split_is_refused() -> None:
    table = rows(sample("rose/a"))
    table[0]["part"] = "tests"
    with pytest.raises(DataError, match=r"one of train, validation, test\. Received: 'tests'"):
        match_earlier(table, as_set(sample("rose/a")), NEW, run_name="run")


# --- the split -----------------------------------------------------------------------------------


def arbitrary_split() -> list[Sample]:
    """A split that no rule would make: 12 images of two classes."""
    splits: tuple[Split, ...] = ("test", "validation", "train", "train", "test", "train")
    return [
        sample(f"{label}/{i}.jpg", split=splits[i]) for label in ("oak", "elm") for i in range(6)
    ]


def test_pinned_images_stay_whatever_joins_them_and_whatever_is_remembered() -> None:
    old = arbitrary_split()
    new = [sample(f"../new/oak/n{i}.jpg") for i in range(40)]
    near = [[old[0].sha256, old[2].sha256, new[0].sha256], [old[3].sha256, new[1].sha256]]
    remembered: dict[str, Split] = {s.sha256: "validation" for s in (*old, new[1])}
    everything = as_set(*old, *new, pinned=True)
    done = assign_splits(
        everything, SHARES, ContentRule(0, SHARES), earlier_splits=remembered, near_duplicates=near
    )
    splits = splits_of(done)
    assert {s.path: s.split for s in old} == {s.path: splits[s.path] for s in old}
    plain = assign_splits(everything, SHARES, ContentRule(0, SHARES), near_duplicates=near)
    assert splits_of(plain)[new[0].path] == "test"  # like a test image, and like one for training
    assert splits_of(plain)[new[1].path] == "train"
    assert Counter(splits_of(plain)[s.path] for s in new).keys() == {"train", "validation", "test"}


def test_copies_follow_even_in_a_class_that_could_be_too_small() -> None:
    old = [sample(f"elm/{i}.jpg", split=split) for i, split in enumerate(ALL_SPLITS)]
    old += [sample(f"oak/{i}.jpg", split=split) for i, split in enumerate(NO_VALIDATION)]
    new = [sample(f"../new/oak/{i}.png") for i in range(8)]
    near = [[old[4].sha256, old[5].sha256, *(s.sha256 for s in new)]]
    done = splits_of(
        assign_splits(
            as_set(*old, *new, pinned=True), SHARES, ContentRule(0, SHARES), near_duplicates=near
        )
    )
    assert {done[s.path] for s in new} == {"train"}
    assert [done[s.path] for s in old] == [s.split for s in old]


@pytest.mark.parametrize("name", ["3_y.jpg", "3_x_noised.jpg", "3_nohash_2.jpg"])
def test_what_was_made_of_an_earlier_image_follows_it(name: str) -> None:
    for split in ("train", "test"):
        old = [replace(s, split=split) if s.path == "oak/3.jpg" else s for s in arbitrary_split()]
        derived = sample(f"../new/oak/{name}")
        others = [sample(f"../new/oak/{i}{i}.jpg") for i in range(5)]
        done = assign_splits(
            as_set(*old, derived, *others, pinned=True), SHARES, ContentRule(0, SHARES)
        )
        assert splits_of(done)[derived.path] == split


def test_a_new_class_gets_all_splits_and_small_ones_are_refused() -> None:
    new = [sample(f"../new/ash/{i}.jpg") for i in range(3)]
    done = assign_splits(
        as_set(*arbitrary_split(), *new, pinned=True), SHARES, ContentRule(0, SHARES)
    )
    assert {s.split for s in done if s.label == "ash"} == {"train", "validation", "test"}
    with pytest.raises(DataError, match=r"too few images in ash \(2\)"):
        assign_splits(
            as_set(*arbitrary_split(), *new[:2], pinned=True), SHARES, ContentRule(0, SHARES)
        )


def test_an_earlier_split_that_has_become_empty_is_filled_with_new_images_only() -> None:
    old = [s for s in arbitrary_split() if not (s.label == "oak" and s.split == "test")]
    without = assign_splits(as_set(*old, pinned=True), SHARES, ContentRule(0, SHARES))
    assert splits_of(without) == {s.path: s.split for s in old}
    new = [sample(f"../new/oak/{i}.jpg") for i in range(2)]
    done = assign_splits(as_set(*old, *new, pinned=True), SHARES, ContentRule(0, SHARES))
    assert [s.base for s in done if s.label == "oak" and s.split == "test"] == [NEW]
    assert {s.path: s.split for s in done if not s.base} == {s.path: s.split for s in old}


def test_with_given_splits_an_image_without_one_is_for_training_unless_it_is_a_copy() -> None:
    old = arbitrary_split()
    new = [sample(f"../new/oak/{i}.png") for i in range(30)]
    result = match_earlier(rows(*old), as_set(*old, *new, given=True), NEW, run_name="run")
    assert {s.split for s in result.added} == {"train"}
    everything = as_set(*old, *result.added, pinned=True, given=True)
    shares = fractions_to_split(everything, 0.15, 0.15)
    near = [[old[0].sha256, new[0].sha256]]
    done = splits_of(
        assign_splits(everything, shares, ContentRule(0, shares), near_duplicates=near)
    )
    assert Counter(done[s.path] for s in new) == {"train": 29, "test": 1}
    assert done[new[0].path] == "test"


# --- folders -------------------------------------------------------------------------------------


def test_folders_are_named_by_their_relative_path(
    make_photos: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make_photos(Path("old"), 2, 2)
    make_photos(Path("far/new"), 1, 1)
    config = Config().replace({"data.folder": "old", "data.added": ["far/new", "old"]})
    scans = scan_folders(config)
    assert list(scans) == ["", "../far/new"]
    assert base_folder(config, str(tmp_path / "old")) == ""
    samples = merge_sample_sets(Path("old"), scans.values())
    assert len(samples) == 5
    assert samples.class_names == ("apple", "leaf")
    for member in samples:
        assert ("old" / Path(member.path)).is_file()
        assert member.inner == member.path.removeprefix("../far/new/")
        assert member.inner.startswith(f"{member.label}/")
