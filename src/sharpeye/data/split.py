"""Split a set of images into training, validation and test images.

A rule (`split_rules.py`) gives each image a number that decides its split, with two exceptions,
which `split_cache.py` stores:

* The images of a group stay together: exact copies, images whose names mark them as versions of one
  photograph, and near-duplicates (`near_duplicates.py`). Near-duplicates that were in different
  splits before stay there; they may also be separated in a class that would otherwise be too small
  to be split.
* A class whose validation or test split would be empty gives it the training image with the
  smallest number. No rule without memory could do both: with one image a split, a fourth image
  would have to join one of three splits for every choice of the three before it.

Images of an earlier run (`SampleSet.pinned`) stay in its splits, and their groups follow.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from sharpeye.core.formatting import name_list
from sharpeye.core.types import SPLITS, Sample, SampleSet, Split
from sharpeye.data.near_duplicates import DisjointSets
from sharpeye.data.split_rules import SplitFractions, SplitRule
from sharpeye.errors import DataError

# A held-out image stays held out, whatever joins its group.
_PRECEDENCE: tuple[Split, ...] = ("test", "validation", "train")

Groups = Mapping[int, str]  # the name of each sample's group by id()


def fractions_to_split(samples: SampleSet, validation: float, test: float) -> SplitFractions:
    """The fractions to split off, given the splits that the folder itself defines."""
    given = {sample.split for sample in samples} if samples.given_splits else set()
    return SplitFractions(
        0.0 if "validation" in given else validation, 0.0 if "test" in given else test
    )


def assign_splits(
    samples: SampleSet,
    fractions: SplitFractions,
    rule: SplitRule,
    *,
    earlier_splits: Mapping[str, Split] | None = None,
    near_duplicates: Sequence[Sequence[str]] = (),
    drop_small: bool = False,
) -> SampleSet:
    """Give every sample its split and group.

    Args:
        samples: samples with digests; pinned ones also have their splits.
        fractions: from `fractions_to_split`.
        earlier_splits: by digest, from earlier calls with the same rule and fractions.
        near_duplicates: digests of images that are nearly the same, group by group.
        drop_small: leave out classes that are too small to be split.

    Raises:
        DataError: a class has fewer images (or groups) than splits; the message names it.
    """
    pinned = samples.pinned
    given = {
        id(s)
        for s in samples
        if samples.given_splits and s.split != "train" and s.path not in pinned
    }
    pool = [s for s in samples if id(s) not in given]
    earlier = _EarlierSplits(earlier_splits or {}, pinned, fractions)
    key_groups = _group_by_key(pool, rule)
    groups = _join_near_duplicates(pool, key_groups, near_duplicates, earlier=earlier)
    samples, pool = _drop_or_refuse_small(
        samples, pool, groups, fractions=fractions, drop_small=drop_small
    )
    members = _members(pool, groups)
    positions: dict[str, float] = {}
    splits: dict[str, Split] = {}
    for group, joined in members.items():
        # The smallest digest decides, whichever the seed, as the smallest of many numbers would
        # nearly always be small. Near-duplicates follow the group that names them all.
        candidates = [sample for sample in joined if key_groups[id(sample)] == group]
        positions[group] = rule.position(min(candidates, key=lambda sample: sample.sha256))
        splits[group] = earlier.split_of(joined) or rule.split(positions[group])
    if len(fractions.required_splits()) > 1:
        shared = {group for group, joined in members.items() if len({s.label for s in joined}) > 1}
        pinned_groups = {group for group, joined in members.items() if earlier.pins(joined)}
        for class_groups in _groups_by_class(samples, pool, groups).values():
            ordered = sorted(class_groups, key=positions.__getitem__)
            _fill_empty_splits(ordered, shared, pinned_groups, splits=splits, fractions=fractions)

    def assigned(sample: Sample) -> Sample:
        if id(sample) in given:
            return replace(sample, group=sample.group or sample.sha256[:12])
        group = groups[id(sample)]
        split = sample.split if sample.path in pinned else splits[group]
        return replace(sample, split=split, group=group[:12])

    return replace(samples, samples=tuple(map(assigned, samples)))


@dataclass(frozen=True)
class _EarlierSplits:
    """The earlier splits of images, pinned ones first; else by digest, if the split exists now."""

    by_digest: Mapping[str, Split]
    pinned: frozenset[str]
    fractions: SplitFractions

    def pins(self, group: Iterable[Sample]) -> bool:
        """Whether a pinned image fixes the split of the group."""
        return any(sample.path in self.pinned for sample in group)

    def split_of(self, group: Sequence[Sample]) -> Split | None:
        """The group's earlier split; None if it is unknown."""
        known = {s.split for s in group if s.path in self.pinned and s.split}
        if not known:
            earlier = {self.by_digest[s.sha256] for s in group if s.sha256 in self.by_digest}
            known = earlier & set(self.fractions.required_splits())
        return next((split for split in _PRECEDENCE if split in known), None)


def _group_by_key(pool: Sequence[Sample], rule: SplitRule) -> dict[int, str]:
    """The group of each sample: the smallest key of the samples that must stay together."""
    sets, keys = DisjointSets[str](), rule.keys(pool)
    for sample_keys in keys:
        sets.join(*sample_keys)
    return {id(s): sets.find(first) for s, (first, *_) in zip(pool, keys, strict=True)}


def _members(pool: Sequence[Sample], groups: Groups) -> dict[str, list[Sample]]:
    members: dict[str, list[Sample]] = defaultdict(list)
    for sample in pool:
        members[groups[id(sample)]].append(sample)
    return members


def _groups_by_class(
    samples: SampleSet, pool: Sequence[Sample], groups: Groups
) -> dict[str, set[str]]:
    by_class = {label: set[str]() for label in samples.class_names}
    for sample in pool:
        by_class[sample.label].add(groups[id(sample)])
    return by_class


def _join_near_duplicates(
    pool: Sequence[Sample],
    groups: Groups,
    near_duplicates: Sequence[Sequence[str]],
    *,
    earlier: _EarlierSplits,
) -> dict[int, str]:
    """The groups, after joining those with nearly the same images.

    Groups with different earlier splits are not joined, nor are those of a class that would then be
    too small to be split. A near-duplicate of a pinned image joins it in any case.
    """
    members = _members(pool, groups)
    by_digest = {sample.sha256: groups[id(sample)] for sample in pool}
    sets = DisjointSets[str]()
    for digests in near_duplicates:
        sets.join(*(by_digest[digest] for digest in digests if digest in by_digest))
    similar: dict[str, list[str]] = defaultdict(list)
    for group in sorted(members):
        similar[sets.find(group)].append(group)
    remaining = Counter(label for joined in members.values() for label in {s.label for s in joined})
    required = len(earlier.fractions.required_splits())
    target: dict[str, str] = {}
    for names in similar.values():
        if len(names) == 1:
            continue
        splits = {group: earlier.split_of(members[group]) for group in names}
        preferred = next((split for split in _PRECEDENCE if split in splits.values()), None)
        for split in dict.fromkeys(known or preferred for known in splits.values()):
            same = [group for group in names if (splits[group] or preferred) == split]
            pinned = [group for group in same if earlier.pins(members[group])]
            new = [group for group in same if group not in pinned]
            for chosen in (same, [*pinned[:1], *new]):
                joined = Counter(label for g in chosen for label in {s.label for s in members[g]})
                if all(remaining[label] - n + 1 >= required for label, n in joined.items()):
                    remaining -= Counter({label: n - 1 for label, n in joined.items()})
                    target |= dict.fromkeys(chosen, chosen[0])
                    break
    return {key: target.get(group, group) for key, group in groups.items()}


def _drop_or_refuse_small(
    samples: SampleSet,
    pool: Sequence[Sample],
    groups: Groups,
    *,
    fractions: SplitFractions,
    drop_small: bool,
) -> tuple[SampleSet, list[Sample]]:
    required = [split for split in SPLITS if split in fractions.required_splits()]
    counts = {label: len(names) for label, names in _groups_by_class(samples, pool, groups).items()}
    small = {label: count for label, count in counts.items() if count < len(required)}
    if not small:
        return samples, list(pool)
    totals = Counter(sample.label for sample in pool)
    texts = [f"{label} ({_count_text(count, totals[label])})" for label, count in small.items()]
    listing, conflicts = name_list(texts, 10), _conflict_text(pool, groups, small)
    if not drop_small:
        folder = " in train/" if samples.given_splits else ""
        raise DataError(
            f"too few images{folder} in {listing}: a class needs {len(required)} different "
            f"ones, one each for {', '.join(required)}; add images, or leave such classes out "
            f"with --drop-small{conflicts}"
        )
    class_names = tuple(label for label in samples.class_names if label not in small)
    if len(class_names) < 2:
        raise DataError(
            f"fewer than two classes have the {len(required)} different images that a split "
            f"needs: {listing}; add images{conflicts}"
        )
    remaining = tuple(s for s in samples if s.label not in small)
    samples = replace(samples, samples=remaining, class_names=class_names)
    return samples, [s for s in pool if s.label not in small]


def _count_text(different: int, total: int) -> str:
    """`2`, or `12 images, copies of 1`, for a class."""
    return str(total) if total == different else f"{total} images, copies of {different}"


def _conflict_text(pool: Sequence[Sample], groups: Groups, classes: Iterable[str]) -> str:
    """What to know of images of too small classes that are in other classes too."""
    small = set(classes)
    for joined in _members(pool, groups).values():
        labels = {sample.label for sample in joined}
        if len(labels) > 1 and labels & small:
            examples = {sample.label: sample.path for sample in joined}.values()
            return f"; the same image is in {len(labels)} classes ({name_list(list(examples), 2)})"
    return ""


def _fill_empty_splits(
    class_groups: Sequence[str],
    shared: set[str],
    pinned: set[str],
    *,
    splits: dict[str, Split],
    fractions: SplitFractions,
) -> None:
    """Give each empty split of one class a group.

    `class_groups` are in the order of their positions. `shared` are groups with copies in another
    class, whose splits they might leave empty.
    """
    for split in fractions.required_splits():
        movable = [group for group in class_groups if group not in pinned]
        if not movable or any(splits[group] == split for group in class_groups):
            continue
        counts = Counter(splits[group] for group in movable)
        # The largest split gives its first group if it is held out, its last if it is training.
        fullest = max(fractions.required_splits(), key=lambda name: counts[name])
        givers = [group for group in movable if splits[group] == fullest]
        givers = [group for group in givers if group not in shared] or givers
        splits[givers[-1] if split == "train" else givers[0]] = split
