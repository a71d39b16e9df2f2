"""Images that are nearly the same stay in one split, and nothing that was placed before moves."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from sharpeye.core.types import Sample, SampleSet, Split
from sharpeye.data.split import assign_splits
from sharpeye.data.split_rules import ContentRule, SplitFractions

SHARES = SplitFractions(0.15, 0.15)
RULE = ContentRule(0, SHARES)


def digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def image(name: str, label: str) -> Sample:
    return Sample(path=f"{label}/{name}.jpg", file=Path(), label=label, sha256=digest(name))


def images(counts: Mapping[str, int], extra: Sequence[Sample] = ()) -> SampleSet:
    """Images named oak0, oak1, ... of each class, and some more."""
    samples = [image(f"{label}{n}", label) for label, count in counts.items() for n in range(count)]
    return SampleSet(Path("x"), (*samples, *extra), tuple(counts))


def splits_by_digest(samples: SampleSet) -> dict[str, Split]:
    return {s.sha256: s.split for s in samples if s.split}


def bursts(label: str, count: int, size: int) -> list[list[str]]:
    return [
        [digest(f"{label}{n}") for n in range(start, start + size)]
        for start in range(0, count, size)
    ]


def test_a_burst_stays_together_and_others_are_where_they_were() -> None:
    samples = images({"oak": 120, "elm": 60})
    near_pairs = bursts("oak", 60, 3)
    plain = splits_by_digest(assign_splits(samples, SHARES, RULE))
    assigned = assign_splits(samples, SHARES, RULE, near_duplicates=near_pairs)
    splits = splits_by_digest(assigned)
    for burst in near_pairs:
        assert len({splits[member] for member in burst}) == 1
        assert len({s.group for s in assigned if s.sha256 in burst}) == 1
    free = [s.sha256 for s in samples if not any(s.sha256 in burst for burst in near_pairs)]
    assert {d: splits[d] for d in free} == {d: plain[d] for d in free}


def test_bursts_do_not_all_become_tests() -> None:
    samples = images({"oak": 1000, "elm": 20})
    assigned = assign_splits(samples, SHARES, RULE, near_duplicates=bursts("oak", 1000, 10))
    count = Counter(s.split for s in assigned if s.label == "oak")
    assert 50 < count["test"] < 280  # the least of ten numbers is below 0.15 in 80 % of cases


def test_what_was_placed_before_does_not_move_and_new_ones_join_the_held_out() -> None:
    counts = {"oak": 40, "elm": 40}
    before = splits_by_digest(assign_splits(images(counts), SHARES, RULE))
    train = [d for d, split in before.items() if split == "train"]
    test = [d for d, split in before.items() if split == "test"]
    new = image("new", "oak")
    near_pairs = [[train[0], test[0], new.sha256], [train[1], train[2]]]
    assigned = assign_splits(
        images(counts, [new]), SHARES, RULE, earlier_splits=before, near_duplicates=near_pairs
    )
    splits = splits_by_digest(assigned)
    assert {d: splits[d] for d in before} == before
    assert splits[new.sha256] == "test"


def test_a_new_copy_follows_its_original() -> None:
    counts = {"oak": 30, "elm": 30}
    before = splits_by_digest(assign_splits(images(counts), SHARES, RULE))
    copies = [image(f"copy{n}", "oak") for n in range(30)]
    near_pairs = [[digest(f"oak{n}"), digest(f"copy{n}")] for n in range(30)]
    assigned = assign_splits(
        images(counts, copies), SHARES, RULE, earlier_splits=before, near_duplicates=near_pairs
    )
    splits = splits_by_digest(assigned)
    assert all(splits[copy] == before[original] for original, copy in near_pairs)


def test_a_class_that_is_one_burst_can_still_be_split() -> None:
    samples = images({"oak": 30, "elm": 5})
    assigned = assign_splits(samples, SHARES, RULE, near_duplicates=bursts("elm", 5, 5))
    assert {s.split for s in assigned if s.label == "elm"} == {"train", "validation", "test"}


def test_copies_in_two_classes_are_one_group() -> None:
    samples = images({"oak": 30, "elm": 30})
    assigned = assign_splits(
        samples, SHARES, RULE, near_duplicates=[[digest("oak3"), digest("elm7")]]
    )
    splits = splits_by_digest(assigned)
    assert splits[digest("oak3")] == splits[digest("elm7")]
