"""Which part each image is given: shares, groups, and that nothing moves without need."""

import hashlib
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from sharpeye.core.types import Sample, SampleSet, Split
from sharpeye.data.split import assign_splits, shares_for
from sharpeye.data.split_rules import ContentRule, SplitShares, position
from sharpeye.errors import DataError

SHARES = SplitShares(validation=0.15, test=0.15)
Parts = dict[str, Split]  # by digest


def fake(label: str, name: str, content: str | None = None, part: Split | None = None) -> Sample:
    digest = hashlib.sha256((content or f"{label}/{name}").encode()).hexdigest()
    return Sample(f"{label}/{name}", Path(label, name), label, split=part, sha256=digest)


def images(label: str, count: int, salt: object = "") -> list[Sample]:
    return [fake(label, f"{i}.jpg", f"{salt}/{label}/{i}") for i in range(count)]


def as_set(samples: Iterable[Sample], given: bool = False) -> SampleSet:
    own = tuple(samples)
    labels = tuple(sorted({s.label for s in own}))
    return SampleSet(Path("photos"), own, labels, given_splits=given)


def parts_of(
    samples: Iterable[Sample],
    seed: int = 0,
    remembered: Parts | None = None,
    shares: SplitShares = SHARES,
) -> Parts:
    done = assign_splits(as_set(samples), shares, ContentRule(seed, shares), remembered)
    assert all(s.split for s in done)
    return {s.sha256: s.split for s in done if s.split}


def counts(samples: Iterable[Sample], parts: Parts) -> dict[str, Counter[Split]]:
    table: dict[str, Counter[Split]] = defaultdict(Counter)
    for sample in samples:
        table[sample.label][parts[sample.sha256]] += 1
    return table


def moved(before: Parts, after: Parts) -> set[str]:
    return {digest for digest in before.keys() & after.keys() if before[digest] != after[digest]}


def test_the_position_of_an_image_never_changes() -> None:
    """Every split ever made rests on this number."""
    assert position("ab" * 32, 0) == pytest.approx(0.8654541095530963, abs=1e-15)


def test_shares_are_about_right() -> None:
    samples = images("cat", 5000) + images("dog", 5000)
    table = counts(samples, parts_of(samples))
    for label in ("cat", "dog"):
        assert table[label]["test"] / 5000 == pytest.approx(0.15, abs=0.02)
        assert table[label]["validation"] / 5000 == pytest.approx(0.15, abs=0.02)


def test_other_shares_are_honoured() -> None:
    samples = images("cat", 5000) + images("dog", 50)
    table = counts(samples, parts_of(samples, shares=SplitShares(0.1, 0.3)))
    assert table["cat"]["validation"] / 5000 == pytest.approx(0.1, abs=0.02)
    assert table["cat"]["test"] / 5000 == pytest.approx(0.3, abs=0.02)


@pytest.mark.parametrize("size", [3, 4, 5, 7, 12, 30])
def test_every_class_gets_one_image_of_each_part(size: int) -> None:
    for seed in range(60):
        samples = images("cat", size) + images("dog", 40)
        table = counts(samples, parts_of(samples, seed))
        for label in ("cat", "dog"):
            assert set(table[label]) == {"train", "validation", "test"}, (seed, label)
        if size == 3:
            assert set(table["cat"].values()) == {1}


def test_the_fullest_part_gives() -> None:
    """Of four images two are for training, whatever their positions."""
    for seed in range(60):
        table = counts(images("cat", 4), parts_of(images("cat", 4) + images("dog", 9), seed))
        assert max(table["cat"].values()) == 2


def test_order_and_samples_are_kept() -> None:
    samples = as_set(images("dog", 9) + images("cat", 9))
    done = assign_splits(samples, SHARES, ContentRule(0, SHARES))
    assert [replace(s, split=None, group="") for s in done] == list(samples)
    assert all(s.group for s in done)


def test_the_order_of_the_input_changes_nothing() -> None:
    samples = images("cat", 9) + images("dog", 30) + images("bird", 3)
    samples += [fake("cat", f"{n}_nohash_{i}.jpg") for n in "abc" for i in range(4)]
    samples += [fake("dog", "copy.jpg", "/dog/3")]
    expected = {
        s.path: (s.split, s.group)
        for s in assign_splits(as_set(samples), SHARES, ContentRule(0, SHARES))
    }
    for seed in range(10):
        shuffled = random.Random(seed).sample(samples, len(samples))
        found = {
            s.path: (s.split, s.group)
            for s in assign_splits(as_set(shuffled), SHARES, ContentRule(0, SHARES))
        }
        assert found == expected


def test_another_seed_is_another_split() -> None:
    samples = images("cat", 100) + images("dog", 100)
    first, second = parts_of(samples, 0), parts_of(samples, 1)
    assert first == parts_of(samples, 0)
    assert 40 < len(moved(first, second)) < 160


# --- classes that are too small ----------------------------------------------------------------


def test_a_class_that_is_too_small_is_named() -> None:
    samples = as_set(images("cat", 9) + images("dog", 2) + images("bird", 1))
    with pytest.raises(DataError) as caught:
        assign_splits(samples, SHARES, ContentRule(0, SHARES))
    message = str(caught.value)
    assert "bird (1), dog (2)" in message and "cat" not in message
    assert "needs 3 different ones" in message and "--drop-small" in message
    assert "\n" not in message


def test_copies_count_once() -> None:
    copies = [fake("dog", f"{i}.jpg", "the same") for i in range(9)]
    with pytest.raises(DataError, match=r"dog \(1\)"):
        assign_splits(as_set(images("cat", 9) + copies), SHARES, ContentRule(0, SHARES))


def test_many_small_classes_are_not_all_listed() -> None:
    small = [s for i in range(25) for s in images(f"c{i:02}", 1)]
    with pytest.raises(DataError, match=r"c09 \(1\) and 15 more"):
        assign_splits(as_set(images("cat", 9) + small), SHARES, ContentRule(0, SHARES))


def test_small_classes_can_be_left_out() -> None:
    samples = as_set(images("cat", 9) + images("dog", 2) + images("eel", 9))
    done = assign_splits(samples, SHARES, ContentRule(0, SHARES), drop_small=True)
    assert done.class_names == ("cat", "eel")
    assert {s.label for s in done} == {"cat", "eel"} and len(done) == 18
    same = assign_splits(
        as_set(images("cat", 9) + images("eel", 9)), SHARES, ContentRule(0, SHARES)
    )
    assert {s.path: s.split for s in done} == {s.path: s.split for s in same}


def test_two_classes_must_remain() -> None:
    samples = as_set(images("cat", 9) + images("dog", 2))
    with pytest.raises(DataError, match=r"fewer than two classes .*dog \(2\)"):
        assign_splits(samples, SHARES, ContentRule(0, SHARES), drop_small=True)


# --- groups ------------------------------------------------------------------------------------


def test_exact_copies_stay_on_one_side() -> None:
    for seed in range(20):
        samples = images("cat", 30) + images("dog", 30)
        samples += [fake("cat", f"copy{i}.jpg", f"/cat/{i}") for i in range(30)]
        done = assign_splits(as_set(samples), SHARES, ContentRule(seed, SHARES))
        sides: dict[str, set[object]] = defaultdict(set)
        groups: dict[str, set[str]] = defaultdict(set)
        for sample in done:
            sides[sample.sha256].add(sample.split)
            groups[sample.sha256].add(sample.group)
        assert all(len(side) == 1 for side in sides.values())
        assert all(len(group) == 1 for group in groups.values())
        assert len({g for each in groups.values() for g in each}) == 60


def test_images_of_one_nohash_name_stay_on_one_side() -> None:
    for seed in range(20):
        samples = images("dog", 30)
        samples += [
            fake("cat", f"tom{n}_nohash_{i}.jpg", f"{seed}:{n}:{i}")
            for n in range(12)
            for i in range(5)
        ]
        done = assign_splits(as_set(samples), SHARES, ContentRule(seed, SHARES))
        sides: dict[str, set[object]] = defaultdict(set)
        for sample in done:
            if sample.label == "cat":
                sides[sample.path.split("_nohash_")[0]].add((sample.split, sample.group))
        assert len(sides) == 12 and all(len(side) == 1 for side in sides.values())
        assert {part for side in sides.values() for part, _ in side} == {
            "train",
            "validation",
            "test",
        }


def test_nohash_names_of_two_classes_or_folders_are_two_groups() -> None:
    samples = images("cat", 9) + images("dog", 9)
    samples += [fake("cat", "a_nohash_1.jpg"), fake("dog", "a_nohash_1.jpg", "other")]
    samples += [fake("cat", "deep/a_nohash_1.jpg")]
    done = assign_splits(as_set(samples), SHARES, ContentRule(0, SHARES))
    assert len({s.group for s in done if "_nohash_" in s.path}) == 3


EIGHT = ("", "_y", "_x", "_y_x", "_noised", "_y_noised", "_x_noised", "_y_x_noised")


def test_the_eight_images_that_older_tools_make_of_one_stay_on_one_side() -> None:
    for seed in range(20):
        samples = images("dog", 30)
        samples += [
            fake("cat", f"tom_{n}{ending}.{'jpg' if ending else 'png'}", f"{seed}:{n}{ending}")
            for n in range(12)
            for ending in EIGHT
        ]
        done = assign_splits(as_set(samples), SHARES, ContentRule(seed, SHARES))
        sides: dict[str, set[object]] = defaultdict(set)
        for sample in done:
            if sample.label == "cat":
                sides[sample.path.split("_")[1].split(".")[0]].add((sample.split, sample.group))
        assert len(sides) == 12 and all(len(side) == 1 for side in sides.values())
        assert len({s.group for s in done}) == 42


def test_a_name_that_looks_made_needs_the_image_that_it_was_made_of() -> None:
    names = ["a_x.jpg", "a_y.jpg", "b_noised.jpg", "deep/c.jpg", "c_y.jpg", "d.jpg", "d.png"]
    names += ["e.jpg", "e_x_y.jpg", "e_y_noised_x.jpg", "exx.jpg", "e_Y.jpg", "_y.jpg", "f_z.jpg"]
    samples = [fake("cat", name) for name in names] + images("dog", 9)
    done = assign_splits(as_set(samples), SHARES, ContentRule(0, SHARES))
    assert len({s.group for s in done}) == len(done)
    # Each half-way image counts, too: without `e.jpg`, `e_y.jpg` is what `e_y_x.jpg` is of.
    more = [fake("cat", "g_y.jpg"), fake("cat", "g_y_x.jpg"), fake("dog", "g.jpg")]
    done = assign_splits(as_set(samples + more), SHARES, ContentRule(0, SHARES))
    groups = {s.path: s.group for s in done}
    assert groups["cat/g_y.jpg"] == groups["cat/g_y_x.jpg"] != groups["dog/g.jpg"]


def test_an_image_stays_with_its_nohash_siblings() -> None:
    """What `sharpeye augment` writes beside an unchanged image."""
    for seed in range(20):
        samples = images("dog", 30)
        for n in range(12):
            own = ["", "_nohash_y", "_nohash_y_x", "_nohash_noised"]
            samples += [fake("cat", f"tom{n}{each}.jpg", f"{seed}:{n}{each}") for each in own]
        done = assign_splits(as_set(samples), SHARES, ContentRule(seed, SHARES))
        sides: dict[str, set[object]] = defaultdict(set)
        for sample in done:
            if sample.label == "cat":
                sides[sample.path[:-4].split("_nohash_")[0]].add((sample.split, sample.group))
        assert len(sides) == 12 and all(len(side) == 1 for side in sides.values())


def test_siblings_stay_together_whatever_their_labels() -> None:
    """Labels may come from annotations; the names say that it is one photo."""
    samples = images("cat", 9) + images("dog", 9)
    one, other = fake("cat", "a.jpg"), fake("cat", "a_y.jpg")
    done = assign_splits(
        as_set([*samples, one, replace(other, label="dog")]), SHARES, ContentRule(0, SHARES)
    )
    assert len({(s.group, s.split) for s in done if s.path.startswith("cat/a")}) == 1


def test_names_without_siblings_change_no_split() -> None:
    """Splits of folders that have no such names rest on digests alone, as they always did."""
    samples = images("cat", 40) + images("dog", 40)
    samples += [fake("cat", "1.png", "other 1"), fake("cat", "tom_y.jpg"), fake("dog", "x_x.jpg")]
    done = assign_splits(as_set(samples), SHARES, ContentRule(7, SHARES))
    for sample in done:
        place = position(sample.sha256, 7)
        assert sample.split == (
            "test" if place < 0.15 else "validation" if place < 0.3 else "train"
        )
        assert sample.group == sample.sha256[:12]


def test_a_copy_joins_two_nohash_groups() -> None:
    samples = images("cat", 9) + images("dog", 9)
    samples += [fake("cat", f"{name}_nohash_{i}.jpg") for name in "ab" for i in range(3)]
    bridge = [fake("cat", "a_nohash_9.jpg", "bridge"), fake("cat", "b_nohash_9.jpg", "bridge")]
    for seed in range(10):
        done = assign_splits(as_set(samples + bridge), SHARES, ContentRule(seed, SHARES))
        joined = {(s.split, s.group) for s in done if "_nohash_" in s.path}
        assert len(joined) == 1
        apart = assign_splits(as_set(samples), SHARES, ContentRule(seed, SHARES))
        assert len({s.group for s in apart if "_nohash_" in s.path}) == 2


def test_a_copy_in_two_classes_leaves_each_class_all_parts() -> None:
    for seed in range(200):
        samples = images("cat", 4, seed) + images("dog", 4, seed)
        samples += [fake("cat", "twin.jpg", f"twin{seed}"), fake("dog", "twin.jpg", f"twin{seed}")]
        parts = parts_of(samples, seed)
        for label, table in counts(samples, parts).items():
            assert set(table) == {"train", "validation", "test"}, (seed, label)


def test_what_was_ever_held_out_stays_held_out() -> None:
    """A new copy or a new `_nohash_` sibling cannot pull a test image into training."""
    old = [fake("cat", "a_nohash_1.jpg"), *images("cat", 9), *images("dog", 9)]
    for part in ("test", "validation", "train"):
        remembered: Parts = parts_of(old) | {old[0].sha256: part}  # type: ignore[dict-item]
        joined = fake("cat", "a_nohash_2.jpg")
        remembered_too: Parts = remembered | {joined.sha256: "train"}
        for known in (remembered, remembered_too):
            parts = parts_of([*old, joined], 0, known)
            assert parts[old[0].sha256] == parts[joined.sha256] == part


# --- stability ---------------------------------------------------------------------------------


def changes(samples: Sequence[Sample], source: random.Random) -> dict[str, list[Sample]]:
    """What people do to a folder."""
    some = list(samples)
    ten = [
        fake(source.choice(("cat", "dog")), f"new{i}.jpg", f"{source.random()}") for i in range(10)
    ]
    renamed = [replace(s, path=f"{s.label}/renamed/{source.random()}.png") for s in some]
    victim = source.choice(some)
    removed = [s for s in some if s is not victim]
    other = "dog" if victim.label == "cat" else "cat"
    relabelled = [*removed, replace(victim, label=other, path=f"{other}/relabelled.jpg")]
    return {
        "added": some + ten,
        "renamed": renamed,
        "removed": removed,
        "relabelled": relabelled,
        "class added": some + images("bird", source.randrange(3, 13), source.random()),
        "class removed": [s for s in some if s.label != "eel"],
    }


def allowed_to_move(before: Sequence[Sample], after: Sequence[Sample], parts: Parts) -> int:
    """How many parts of a class lost their last image: each may take one from another part."""
    had = {(s.label, parts[s.sha256]) for s in before}
    has = {(s.label, parts[s.sha256]) for s in after if s.sha256 in parts}
    labels = {s.label for s in after}
    return sum(label in labels for label, _ in had - has)


@pytest.mark.parametrize("size", [3, 4, 5, 6, 8, 12])
def test_with_memory_nothing_moves_without_need(size: int) -> None:
    steady = 0
    for seed in range(50):
        source = random.Random(seed)
        samples = [s for label in ("cat", "dog", "eel") for s in images(label, size, seed)]
        before = parts_of(samples, seed)
        for name, after in changes(samples, source).items():
            if min(Counter(s.label for s in after).values()) < 3:
                continue
            found = parts_of(after, seed, before)
            allowed = allowed_to_move(samples, after, before)
            assert len(moved(before, found)) <= allowed, (seed, name)
            if name not in ("removed", "relabelled"):
                assert allowed == 0
            steady += allowed == 0
    assert steady > 150  # the changes are not all of the kind that needs a move


def test_with_memory_nothing_moves_while_a_class_grows_one_by_one() -> None:
    for seed in range(50):
        base, known = images("dog", 20), {}
        for count in range(3, 13):
            samples = base + images("cat", count, seed)
            found = parts_of(samples, seed, known)
            assert not moved(known, found), (seed, count)
            known = found


def test_without_memory_nothing_moves_in_larger_classes() -> None:
    for seed in range(50):
        source = random.Random(seed)
        samples = [s for label in ("cat", "dog", "eel") for s in images(label, 60, seed)]
        before = parts_of(samples, seed)
        for name, after in changes(samples, source).items():
            assert not moved(before, parts_of(after, seed)), (seed, name)


def test_memory_of_a_part_that_is_not_carved_is_not_used() -> None:
    samples = images("cat", 30) + images("dog", 30)
    remembered: Parts = {s.sha256: "test" for s in samples}
    found = parts_of(samples, 0, remembered, SplitShares(0.2, 0.0))
    assert set(found.values()) == {"train", "validation"}


def test_memory_that_puts_a_whole_class_into_one_part_is_bent() -> None:
    """It can come from another folder with the same images."""
    samples = images("cat", 5) + images("dog", 5)
    for part in ("train", "validation", "test"):
        remembered: Parts = {s.sha256: part for s in samples}  # type: ignore[misc]
        table = counts(samples, parts_of(samples, 0, remembered))
        assert all(set(each) == {"train", "validation", "test"} for each in table.values())


# --- given parts -------------------------------------------------------------------------------


def given(*parts: Split, each: int = 20) -> SampleSet:
    return as_set(
        (
            fake(label, f"{part}{i}.jpg", part=part)
            for part in parts
            for label in ("cat", "dog")
            for i in range(each)
        ),
        given=True,
    )


def test_all_three_parts_given_are_kept() -> None:
    samples = given("train", "validation", "test", each=1)
    shares = shares_for(samples, 0.15, 0.15)
    assert shares == SplitShares(0, 0)
    done = assign_splits(samples, shares, ContentRule(0, shares))
    assert [s.split for s in done] == [s.split for s in samples]
    assert all(s.group for s in done)


def test_validation_is_carved_from_training_only() -> None:
    samples = given("train", "test")
    shares = shares_for(samples, 0.3, 0.15)
    assert shares == SplitShares(0.3, 0.0)
    done = assign_splits(samples, shares, ContentRule(0, shares))
    for before, after in zip(samples, done, strict=True):
        if before.split == "test":
            assert after.split == "test"
        else:
            assert after.split in ("train", "validation")
    for label in ("cat", "dog"):
        assert {s.split for s in done if s.label == label} == {"train", "validation", "test"}


def test_a_copy_of_a_given_test_image_is_not_moved_there() -> None:
    samples = given("train", "test")
    twin = replace(samples.samples[0], path="cat/twin.jpg", split="test")
    both = replace(samples, samples=(*samples.samples, twin))
    done = assign_splits(both, SplitShares(0.3, 0.0), ContentRule(0, SplitShares(0.3, 0.0)))
    assert done.samples[-1].split == "test"
    assert {s.split for s in done if s.path.startswith("cat/test")} == {"test"}


def test_a_training_folder_too_small_to_carve_from_is_named() -> None:
    samples = given("train", "test", each=1)
    with pytest.raises(DataError, match=r"too few pictures in train/ in cat \(1\), dog \(1\)"):
        assign_splits(samples, SplitShares(0.15, 0.0), ContentRule(0, SplitShares(0.15, 0.0)))
