"""Which image is for training, which for validation, which for the test: decided by content.

Each image has a number u in [0, 1), taken from SHA-256 of seed and file digest. Below the test
share it is a test image, below test plus validation share a validation image, else it is for
training. So adding, renaming or moving files moves no other file.

Two things bend that rule, and `ledger.py` remembers what they did, so that it stays as it was:

* A group goes where its smallest u says: exact copies, `NAME_nohash_ANY` files of one NAME, what
  older tools made of an image, `NAME_y_x_noised.jpg` beside `NAME.jpg`, and images that are
  nearly the same (`near.py`). Where these last had gone to different parts before, each stays
  where it is, and so they may in a class that would otherwise be too small to be split.
* A class whose validation or test part would be empty gives the training image with the
  smallest u to it. No rule without memory could do both: with one image a part, a fourth
  image would have to join one of three parts for every choice of the three before it.

Images that an earlier run had (`SampleSet.kept`) stay in its parts, and what belongs to their
group follows them.
"""

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from sharpeye.core.types import SPLITS, Sample, SampleSet, Split
from sharpeye.errors import DataError

_NOHASH = re.compile(r"^(.*?)_nohash_.*$", re.S)
# How older tools call an image that they flipped, flipped the other way, and laid noise over.
_ENDINGS = tuple(
    y + x + noised for y in ("", "_y") for x in ("", "_x") for noised in ("", "_noised")
)[1:]
# An image that was ever held out stays held out, whatever joins its group.
_PRECEDENCE: tuple[Split, ...] = ("test", "validation", "train")


@dataclass(frozen=True)
class SplitShares:
    """What is split off the training pool, as shares 0..1; 0 means that part is not split off."""

    validation: float
    test: float

    def required_splits(self) -> tuple[Split, ...]:
        """The parts that must get images, training last."""
        parts: list[Split] = []
        if self.test:
            parts.append("test")
        if self.validation:
            parts.append("validation")
        return (*parts, "train")


class SplitRule(Protocol):
    """Where an image belongs, before any small class asks for an exception."""

    def keys(self, samples: Sequence[Sample]) -> list[list[str]]:
        """For each image, its keys: images that have one in common stay together.

        The first one is an image's own; the smallest of a group's names it.
        """

    def position(self, sample: Sample) -> float:
        """The image's number."""

    def split(self, place: float) -> Split:
        """The part that a number stands for."""


class ContentRule:
    """By the bytes of the files; see above. Another seed is another split."""

    def __init__(self, seed: int, shares: SplitShares) -> None:
        self._seed, self._shares = seed, shares

    def keys(self, samples: Sequence[Sample]) -> list[list[str]]:
        return [
            [sample.sha256, *(f"name:{name}" for name in own)]
            for sample, own in zip(samples, families(samples), strict=True)
        ]

    def position(self, sample: Sample) -> float:
        return position(sample.sha256, self._seed)

    def split(self, place: float) -> Split:
        if place < self._shares.test:
            return "test"
        return "validation" if place < self._shares.test + self._shares.validation else "train"


def position(sha256: str, seed: int) -> float:
    """The number in [0, 1) that decides an image's part."""
    digest = hashlib.sha256(f"{seed}:{sha256}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def families(samples: Sequence[Sample]) -> list[set[str]]:
    """For each image, the names of the images that it was made of, or that were made of it.

    `cat_x.jpg` is an image of its own unless there is a `cat.jpg` in its folder.

    Returns:
        for each sample, paths without suffix; those of one path belong together.
    """
    stems = [_stem(sample.inner) for sample in samples]
    known = set(stems)
    made_of: list[set[str]] = []
    for sample, stem in zip(samples, stems, strict=True):
        match = _NOHASH.match(sample.inner)
        made_of.append({match[1]} if match else _bases(stem) & known)
    makers = set().union(*made_of)
    return [own | ({stem} & makers) for stem, own in zip(stems, made_of, strict=True)]


def _stem(path: str) -> str:
    folder, slash, name = path.rpartition("/")
    return folder + slash + (name.rpartition(".")[0] or name)


def _bases(stem: str) -> set[str]:
    """The names, but for its own, of which a file `NAME(_y)(_x)(_noised)` may be made."""
    return {stem.removesuffix(ending) for ending in _ENDINGS if stem.endswith(ending)}


def shares_for(samples: SampleSet, validation: float, test: float) -> SplitShares:
    """What has to be split off, given the parts that the folder has of its own."""
    if not samples.given_splits:
        return SplitShares(validation, test)
    present = {sample.split for sample in samples}
    return SplitShares(
        0.0 if "validation" in present else validation, 0.0 if "test" in present else test
    )


def assign_splits(
    samples: SampleSet,
    shares: SplitShares,
    rule: SplitRule,
    remembered: Mapping[str, Split] | None = None,
    *,
    near: Sequence[Sequence[str]] = (),
    drop_small: bool = False,
) -> SampleSet:
    """Give every sample its part and group.

    Args:
        samples: with digests; those that are kept with their parts.
        shares: from `shares_for`.
        rule: where each image belongs.
        remembered: part by digest, from earlier splits with the same rule and shares.
        near: digests of images that are nearly the same, group by group.
        drop_small: leave classes out that are too small to be split.

    Returns:
        the samples, in the same order, with `part` and `group` set.

    Raises:
        DataError: a class has fewer images (or groups) than parts; it is named.
    """
    kept = samples.pinned
    fixed = {
        id(s) for s in samples if samples.given_splits and s.split != "train" and s.path not in kept
    }
    pool = [s for s in samples if id(s) not in fixed]
    known = _Known(remembered or {}, kept, shares)
    own_groups = _groups(pool, rule)
    groups = _joined(pool, own_groups, near, known)
    samples, pool = _drop_or_refuse_small(samples, pool, groups, shares, fixed, drop_small)
    members: dict[str, list[Sample]] = defaultdict(list)
    for sample in pool:
        members[groups[id(sample)]].append(sample)
    # By one of its own, whichever the seed: the smallest number of many is nearly always small.
    # Those that were joined for their looks go where the first of them goes.
    places = {
        group: rule.position(
            min((s for s in each if own_groups[id(s)] == group), key=lambda s: s.sha256)
        )
        for group, each in members.items()
    }
    parts = {
        group: known.part(each) or rule.split(places[group]) for group, each in members.items()
    }
    if len(shares.required_splits()) > 1:
        shared = {group for group, each in members.items() if len({s.label for s in each}) > 1}
        settled = {group for group, each in members.items() if known.keeps(each)}
        for label in samples.class_names:
            own = sorted({groups[id(s)] for s in pool if s.label == label}, key=places.__getitem__)
            _fill_empty_parts(own, shared, settled, parts, shares)
    result = [
        s
        if id(s) in fixed
        else replace(
            s,
            split=s.split if s.path in kept else parts[groups[id(s)]],
            group=groups[id(s)][:12],
        )
        for s in samples
    ]
    return replace(
        samples, samples=tuple(s if s.group else replace(s, group=s.sha256[:12]) for s in result)
    )


@dataclass(frozen=True)
class _Known:
    """What earlier splits say of groups.

    Attributes:
        remembered: part by digest; only one that is split off now counts.
        kept: paths of samples that stay in their part; these come first.
        shares: what is split off.
    """

    remembered: Mapping[str, Split]
    kept: frozenset[str]
    shares: SplitShares

    def keeps(self, members: Iterable[Sample]) -> bool:
        """Whether one of the group stays where it is."""
        return any(s.path in self.kept for s in members)

    def part(self, members: Sequence[Sample]) -> Split | None:
        """The part that the group was given before; None if nothing is known of it."""
        known = {s.split for s in members if s.path in self.kept and s.split}
        if not known:
            found = {self.remembered[s.sha256] for s in members if s.sha256 in self.remembered}
            known = {part for part in found if part in self.shares.required_splits()}
        return next((part for part in _PRECEDENCE if part in known), None)


class _DisjointSets:
    """Names that belong together, by union and find."""

    def __init__(self) -> None:
        self._parent: dict[str, str] = {}

    def find(self, name: str) -> str:
        parent = self._parent
        while parent.setdefault(name, name) != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    def join(self, names: Sequence[str]) -> None:
        for other in names[1:]:
            self._parent[self.find(other)] = self.find(names[0])


def _groups(pool: Sequence[Sample], rule: SplitRule) -> dict[int, str]:
    """The group of each sample by id(): the smallest first key among those it must stay with."""
    together, keys = _DisjointSets(), rule.keys(pool)
    for own in keys:
        together.join(own)
    smallest: dict[str, str] = {}
    for first, *_ in keys:
        root = together.find(first)
        smallest[root] = min(smallest.get(root, first), first)
    return {id(s): smallest[together.find(own[0])] for s, own in zip(pool, keys, strict=True)}


def _joined(
    pool: Sequence[Sample],
    groups: dict[int, str],
    near: Sequence[Sequence[str]],
    known: _Known,
) -> dict[int, str]:
    """The groups with those joined whose images are nearly the same.

    Groups that were given different parts before are not joined, nor are those of a class that
    would then be too small to be split. What is like an image that is kept joins it even there.
    """
    members: dict[str, list[Sample]] = defaultdict(list)
    by_digest = {sample.sha256: groups[id(sample)] for sample in pool}
    for sample in pool:
        members[groups[id(sample)]].append(sample)
    together = _DisjointSets()
    for digests in near:
        together.join([by_digest[digest] for digest in digests if digest in by_digest])
    joins: dict[str, list[str]] = defaultdict(list)
    for group in sorted(members):
        joins[together.find(group)].append(group)
    left = Counter(label for each in members.values() for label in {s.label for s in each})
    target: dict[str, str] = {}
    for own in joins.values():
        if len(own) == 1:
            continue
        parts = {group: known.part(members[group]) for group in own}
        first = next((part for part in _PRECEDENCE if part in parts.values()), None)
        for part in dict.fromkeys(given or first for given in parts.values()):
            same = [group for group in own if (parts[group] or first) == part]
            settled = [group for group in same if known.keeps(members[group])]
            new = [group for group in same if group not in settled]
            for chosen in (same, [*settled[:1], *new]):
                lost = Counter(label for g in chosen for label in {s.label for s in members[g]})
                enough = len(known.shares.required_splits())
                if all(left[label] - n + 1 >= enough for label, n in lost.items()):
                    left -= Counter({label: n - 1 for label, n in lost.items()})
                    target |= dict.fromkeys(chosen, chosen[0])
                    break
    return {key: target.get(group, group) for key, group in groups.items()}


def _drop_or_refuse_small(
    samples: SampleSet,
    pool: Sequence[Sample],
    groups: Mapping[int, str],
    shares: SplitShares,
    fixed: set[int],
    drop_small: bool,
) -> tuple[SampleSet, list[Sample]]:
    needed = len(shares.required_splits())
    counts = {
        label: len({groups[id(s)] for s in pool if s.label == label})
        for label in samples.class_names
    }
    small = {label: count for label, count in counts.items() if count < needed}
    if not small:
        return samples, list(pool)
    if not drop_small:
        raise DataError(_small_message(small, needed, shares, samples.given_splits))
    kept = tuple(label for label in samples.class_names if label not in small)
    if len(kept) < 2:
        raise DataError(
            f"fewer than two classes have the {needed} different pictures that a split needs: "
            f"{_listing(small)}; add pictures"
        )
    remaining = tuple(s for s in samples if s.label in kept)
    samples = replace(samples, samples=remaining, class_names=kept)
    return samples, [s for s in remaining if id(s) not in fixed]


def _small_message(small: Mapping[str, int], needed: int, shares: SplitShares, given: bool) -> str:
    where = " in train/" if given else ""
    parts = ", ".join(part for part in SPLITS if part in shares.required_splits())
    return (
        f"too few pictures{where} in {_listing(small)}: a class needs {needed} different ones, one "
        f"each for {parts}; add pictures, or leave such classes out with --drop-small"
    )


def _listing(small: Mapping[str, int]) -> str:
    names = [f"{label} ({count})" for label, count in small.items()]
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")


def _fill_empty_parts(
    own: Sequence[str],
    shared: set[str],
    settled: set[str],
    parts: dict[str, Split],
    shares: SplitShares,
) -> None:
    """Give each empty part of one class a group.

    Args:
        own: the class's groups by position.
        shared: groups with copies in another class, whose parts they might leave empty.
        settled: groups that stay where they are.
    """
    for part in shares.required_splits():
        free = [group for group in own if group not in settled]
        if not free or any(parts[group] == part for group in own):
            continue
        count = Counter(parts[group] for group in free)
        # The fullest part gives: its first group if it is held out, its last if it is for training.
        giver = max(shares.required_splits(), key=lambda p: count[p])
        givers = [group for group in free if parts[group] == giver]
        givers = [group for group in givers if group not in shared] or givers
        parts[givers[-1] if part == "train" else givers[0]] = part
