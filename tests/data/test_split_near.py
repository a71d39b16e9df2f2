"""Images that are nearly the same stay in one part, and nothing that was placed before moves."""

import hashlib
from collections import Counter
from pathlib import Path

from sharpeye.core.types import Sample, SampleSet, Split
from sharpeye.data.split import assign_splits
from sharpeye.data.split_rules import ContentRule, SplitShares

SHARES = SplitShares(0.15, 0.15)
RULE = ContentRule(0, SHARES)


def digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def images(counts: dict[str, int]) -> SampleSet:
    samples = tuple(
        Sample(path=f"{label}/{n}.jpg", file=Path(), label=label, sha256=digest(f"{label}{n}"))
        for label, count in counts.items()
        for n in range(count)
    )
    return SampleSet(Path("x"), samples, tuple(counts))


def parts_of(samples: SampleSet) -> dict[str, Split | None]:
    return {s.sha256: s.split for s in samples}


def bursts(label: str, count: int, size: int) -> list[list[str]]:
    return [
        [digest(f"{label}{n}") for n in range(start, start + size)]
        for start in range(0, count, size)
    ]


def test_a_burst_stays_together_and_others_are_where_they_were() -> None:
    samples = images({"oak": 120, "elm": 60})
    near = bursts("oak", 60, 3)
    plain, joined = (
        parts_of(assign_splits(samples, SHARES, RULE)),
        assign_splits(samples, SHARES, RULE, near=near),
    )
    found = parts_of(joined)
    for burst in near:
        assert len({found[one] for one in burst}) == 1
        assert len({s.group for s in joined if s.sha256 in burst}) == 1
    free = [s.sha256 for s in samples if not any(s.sha256 in burst for burst in near)]
    assert {d: found[d] for d in free} == {d: plain[d] for d in free}


def test_bursts_do_not_all_become_tests() -> None:
    samples = images({"oak": 1000, "elm": 20})
    near = bursts("oak", 1000, 10)
    found = assign_splits(samples, SHARES, RULE, near=near)
    count = Counter(s.split for s in found if s.label == "oak")
    assert 50 < count["test"] < 280  # the least of ten numbers is below 0.15 in 80 % of cases


def test_what_was_placed_before_does_not_move_and_new_ones_join_the_held_out() -> None:
    samples = images({"oak": 40, "elm": 40})
    before = {d: part for d, part in parts_of(assign_splits(samples, SHARES, RULE)).items() if part}
    trained = [d for d, part in before.items() if part == "train"]
    tested = [d for d, part in before.items() if part == "test"]
    new = Sample(path="oak/new.jpg", file=Path(), label="oak", sha256=digest("new"))
    more = SampleSet(Path("x"), (*samples.samples, new), samples.class_names)
    near = [[trained[0], tested[0], new.sha256], [trained[1], trained[2]]]
    found = parts_of(assign_splits(more, SHARES, RULE, before, near=near))
    assert {d: found[d] for d in before} == before
    assert found[new.sha256] == "test"


def test_a_new_copy_follows_its_original() -> None:
    samples = images({"oak": 30, "elm": 30})
    before = {d: part for d, part in parts_of(assign_splits(samples, SHARES, RULE)).items() if part}
    copies = tuple(
        Sample(path=f"oak/c{n}.jpg", file=Path(), label="oak", sha256=digest(f"copy{n}"))
        for n in range(30)
    )
    near = [[digest(f"oak{n}"), digest(f"copy{n}")] for n in range(30)]
    more = SampleSet(Path("x"), (*samples.samples, *copies), samples.class_names)
    found = parts_of(assign_splits(more, SHARES, RULE, before, near=near))
    assert all(found[copy] == before[original] for original, copy in near)


def test_a_class_that_is_one_burst_can_still_be_split() -> None:
    samples = images({"oak": 30, "elm": 5})
    found = assign_splits(samples, SHARES, RULE, near=bursts("elm", 5, 5))
    assert {s.split for s in found if s.label == "elm"} == {"train", "validation", "test"}


def test_copies_in_two_classes_are_one_group() -> None:
    samples = images({"oak": 30, "elm": 30})
    found = assign_splits(samples, SHARES, RULE, near=[[digest("oak3"), digest("elm7")]])
    parts = parts_of(found)
    assert parts[digest("oak3")] == parts[digest("elm7")]
