"""Earlier images are found again by content, keep their part, and new ones follow them."""

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from sharpeye.core.config import Config
from sharpeye.core.types import Sample, SampleSet, Split
from sharpeye.data.match_earlier import match_earlier
from sharpeye.data.scan import base_folder, joined, scan_folders
from sharpeye.data.split import assign_splits, shares_for
from sharpeye.data.split_rules import ContentRule, SplitShares
from sharpeye.errors import DataError

SHARES = SplitShares(0.15, 0.15)
EACH: tuple[Split, ...] = ("test", "validation", "train")
NO_VALIDATION: tuple[Split, ...] = ("test", "train", "train")
NEW = "../new"


def sample(path: str, content: str = "", part: Split | None = None) -> Sample:
    base = NEW if path.startswith(NEW) else ""
    label = path.removeprefix(f"{NEW}/").split("/")[0]
    digest = hashlib.sha256((content or path).encode()).hexdigest()
    return Sample(path, Path(path), label, part, digest, base=base)


def rows(*samples: Sample, part: str = "train") -> list[dict[str, str]]:
    return [
        {"path": s.path, "label": s.label, "part": s.split or part, "sha256": s.sha256}
        for s in samples
    ]


def as_set(*samples: Sample, kept: bool = False, given: bool = False) -> SampleSet:
    labels = tuple(sorted({s.label for s in samples}))
    paths = frozenset(s.path for s in samples if kept and not s.base)
    return SampleSet(Path("old"), samples, labels, given_splits=given, pinned=paths)


def parts(found: SampleSet) -> dict[str, Split | None]:
    return {s.path: s.split for s in found}


# --- which image is which ----------------------------------------------------------------------


def test_images_are_told_apart_by_what_they_are() -> None:
    stays, renamed, gone, changed = (sample(f"rose/{name}") for name in "abcd")
    found = as_set(
        stays,
        replace(renamed, path="rose/z"),
        sample("rose/d", "other bytes"),
        sample("rose/e"),
        sample("../new/rose/a", "rose/a"),
        sample("../new/rose/f"),
        sample("../new/tulip/g"),
    )
    told = match_earlier(rows(stays, renamed, gone, changed, part="test"), found, NEW, "runs/a")
    assert {then: s.path for then, s in told.earlier.items()} == {
        "rose/a": "rose/a",
        "rose/b": "rose/z",
    }
    assert {s.split for s in told.earlier.values()} == {"test"}
    assert [s.path for s in told.added] == ["../new/rose/f", "../new/tulip/g"]
    assert [s.path for s in told.known] == ["../new/rose/a"]
    assert [s.path for s in told.left] == ["rose/e"]
    assert [(r.path, r.reason) for r in told.missing] == [
        ("rose/c", "was in runs/a and is not there any more"),
        ("rose/d", "has changed since runs/a"),
    ]


def test_what_has_changed_in_the_folder_that_is_added_is_new() -> None:
    """The earlier folder itself may be added again."""
    then, now = sample("rose/a"), sample("rose/a", "other bytes")
    told = match_earlier(rows(then, sample("rose/b")), as_set(now, sample("rose/b")), "", "run")
    assert [s.sha256 for s in told.added] == [now.sha256]
    assert (told.missing, told.left) == ((), ())
    assert list(told.earlier) == ["rose/b"]


def test_of_two_copies_each_is_found_and_one_that_is_gone_is_missed() -> None:
    one, other = sample("rose/a", "same"), sample("tulip/a", "same")
    moved = replace(other, path="tulip/b")
    told = match_earlier(rows(one, other), as_set(one, moved), NEW, "run")
    assert {s.path for s in told.earlier.values()} == {"rose/a", "tulip/b"}
    told = match_earlier(rows(one, other), as_set(moved), NEW, "run")
    assert list(told.earlier) == ["rose/a"]  # the bytes are there once
    assert [r.path for r in told.missing] == ["tulip/a"]


def test_a_damaged_split_is_refused() -> None:
    table = rows(sample("rose/a"))
    table[0]["part"] = "tests"
    with pytest.raises(DataError, match=r"one of train, validation, test\. Received: 'tests'"):
        match_earlier(table, as_set(sample("rose/a")), NEW, "run")


# --- the split -----------------------------------------------------------------------------------


def odd_split() -> list[Sample]:
    """A split that no rule would make: 12 images of two classes, their parts in turn."""
    turn: tuple[Split, ...] = ("test", "validation", "train", "train", "test", "train")
    return [sample(f"{label}/{i}.jpg", part=turn[i]) for label in ("oak", "elm") for i in range(6)]


def test_kept_images_stay_whatever_joins_them_and_whatever_is_remembered() -> None:
    old = odd_split()
    new = [sample(f"../new/oak/n{i}.jpg") for i in range(40)]
    near = [[old[0].sha256, old[2].sha256, new[0].sha256], [old[3].sha256, new[1].sha256]]
    remembered: dict[str, Split] = {s.sha256: "validation" for s in (*old, new[1])}
    everything = as_set(*old, *new, kept=True)
    done = assign_splits(everything, SHARES, ContentRule(0, SHARES), remembered, near=near)
    found = parts(done)
    assert {s.path: s.split for s in old} == {s.path: found[s.path] for s in old}
    plain = assign_splits(everything, SHARES, ContentRule(0, SHARES), near=near)
    assert parts(plain)[new[0].path] == "test"  # like a test image, and like one for training
    assert parts(plain)[new[1].path] == "train"
    assert Counter(parts(plain)[s.path] for s in new).keys() == {"train", "validation", "test"}


def test_copies_follow_even_in_a_class_that_could_be_too_small() -> None:
    old = [sample(f"elm/{i}.jpg", part=p) for i, p in enumerate(EACH)]
    old += [sample(f"oak/{i}.jpg", part=p) for i, p in enumerate(NO_VALIDATION)]
    new = [sample(f"../new/oak/{i}.png") for i in range(8)]
    near = [[old[4].sha256, old[5].sha256, *(s.sha256 for s in new)]]
    done = parts(
        assign_splits(as_set(*old, *new, kept=True), SHARES, ContentRule(0, SHARES), near=near)
    )
    assert {done[s.path] for s in new} == {"train"}
    assert [done[s.path] for s in old] == [s.split for s in old]


@pytest.mark.parametrize("name", ["3_y.jpg", "3_x_noised.jpg", "3_nohash_2.jpg"])
def test_what_was_made_of_an_earlier_image_follows_it(name: str) -> None:
    for part in ("train", "test"):
        old = [replace(s, split=part) if s.path == "oak/3.jpg" else s for s in odd_split()]
        made = sample(f"../new/oak/{name}")
        others = [sample(f"../new/oak/{i}{i}.jpg") for i in range(5)]
        done = assign_splits(as_set(*old, made, *others, kept=True), SHARES, ContentRule(0, SHARES))
        assert parts(done)[made.path] == part


def test_a_new_class_gets_all_parts_and_small_ones_are_refused() -> None:
    new = [sample(f"../new/ash/{i}.jpg") for i in range(3)]
    done = assign_splits(as_set(*odd_split(), *new, kept=True), SHARES, ContentRule(0, SHARES))
    assert {s.split for s in done if s.label == "ash"} == {"train", "validation", "test"}
    with pytest.raises(DataError, match=r"too few pictures in ash \(2\)"):
        assign_splits(as_set(*odd_split(), *new[:2], kept=True), SHARES, ContentRule(0, SHARES))


def test_an_earlier_part_that_has_become_empty_is_filled_with_new_images_only() -> None:
    old = [s for s in odd_split() if not (s.label == "oak" and s.split == "test")]
    without = assign_splits(as_set(*old, kept=True), SHARES, ContentRule(0, SHARES))
    assert parts(without) == {s.path: s.split for s in old}
    new = [sample(f"../new/oak/{i}.jpg") for i in range(2)]
    done = assign_splits(as_set(*old, *new, kept=True), SHARES, ContentRule(0, SHARES))
    assert [s.base for s in done if s.label == "oak" and s.split == "test"] == [NEW]
    assert {s.path: s.split for s in done if not s.base} == {s.path: s.split for s in old}


def test_with_given_parts_what_has_none_is_to_learn_from_unless_it_is_a_copy() -> None:
    old = odd_split()
    new = [sample(f"../new/oak/{i}.png") for i in range(30)]
    found = match_earlier(rows(*old), as_set(*old, *new, given=True), NEW, "run")
    assert {s.split for s in found.added} == {"train"}
    everything = as_set(*old, *found.added, kept=True, given=True)
    shares = shares_for(everything, 0.15, 0.15)
    near = [[old[0].sha256, new[0].sha256]]
    done = parts(assign_splits(everything, shares, ContentRule(0, shares), near=near))
    assert Counter(done[s.path] for s in new) == {"train": 29, "test": 1}
    assert done[new[0].path] == "test"


# --- folders -------------------------------------------------------------------------------------


def test_folders_are_named_by_their_way(
    make_photos: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make_photos(Path("old"), 2, 2)
    make_photos(Path("far/new"), 1, 1)
    config = Config().replace({"data.folder": "old", "data.added": ["far/new", "old"]})
    scans = scan_folders(config)
    assert list(scans) == ["", "../far/new"]
    assert base_folder(config, str(tmp_path / "old")) == ""
    found = joined(Path("old"), scans.values())
    assert len(found) == 5
    assert found.class_names == ("apple", "leaf")
    for one in found:
        assert ("old" / Path(one.path)).is_file()
        assert one.inner == one.path.removeprefix("../far/new/")
        assert one.inner.startswith(f"{one.label}/")
