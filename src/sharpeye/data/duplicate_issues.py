"""Images that are there twice: across parts, across classes, or within one class."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sharpeye.core.types import SPLITS, Sample, SampleSet
from sharpeye.data.issues import Issue
from sharpeye.data.near_duplicates import Pairs
from sharpeye.data.thumbnail import ThumbnailArray

_PLAIN = frozenset({"exact_duplicate", "near_duplicate"})
_SAME_BYTES = 2.0  # above any likeness


@dataclass(frozen=True, slots=True)
class _Copy:
    """What an image is a copy of, how alike they are, and what likeness is meant."""

    likeness: float  # _SAME_BYTES, or 0..1
    other: Sample
    meant: str


def duplicate_issues(
    samples: SampleSet,
    looks: ThumbnailArray,
    seen: Sequence[Sample],
    pairs: Pairs,
    to_network: Pairs,
) -> list[Issue]:
    """Images that are there twice, in the order of the images.

    Each is told once a kind, with the most alike of the others. Of two, the held-out one is told
    of, or the one that comes later.

    Args:
        looks, seen: looks, and the images that they are of, one a digest.
        pairs: of rows of `looks` that are nearly the same.
        to_network: others, whose features are; their likeness is a cosine.
    """
    sizes = {}  # of images with a copy: most have none, and a million need not be in tables
    for own in (pairs, to_network):
        for row in {*own.first.tolist(), *own.second.tolist()}:
            look = looks[row]
            sizes[seen[row].sha256] = f"{look['width']:.0f} x {look['height']:.0f}"
    found = _Copies(samples, sizes)
    for own, meant in ((pairs, "likeness"), (to_network, "to the network, cosine")):
        for one, other, likeness in zip(
            own.first.tolist(), own.second.tolist(), own.likeness.tolist(), strict=True
        ):
            found.add(seen[one].sha256, seen[other].sha256, likeness, meant)
    return found.issues()


class _Copies:
    """Collects for each image the best copy of each kind.

    Args:
        sizes: in words, by the digest of each image that is nearly the same as another.
    """

    def __init__(self, samples: SampleSet, sizes: Mapping[str, str]) -> None:
        self._given_parts, self._sizes = samples.given_splits, sizes
        self._members: dict[str, list[Sample]] = defaultdict(list)
        self._place: dict[int, tuple[int, int]] = {}  # by id(): training first, then by path
        self._best: dict[int, dict[str, _Copy]] = defaultdict(dict)
        rank = {part: i for i, part in enumerate(SPLITS)}
        counts = Counter(sample.sha256 for sample in samples)
        for place, sample in enumerate(samples):
            if sample.sha256 in sizes or counts[sample.sha256] > 1:
                self._members[sample.sha256].append(sample)
                self._place[id(sample)] = rank.get(sample.split or "train", 0), place
        for members in self._members.values():
            firsts = _firsts(members)
            for member in members:
                for other in firsts:
                    if other is not member:
                        self._note(member, other, _SAME_BYTES, "")

    def add(self, one: str, other: str, likeness: float, meant: str) -> None:
        """Two images by digest that are nearly the same."""
        for a in _firsts(self._members[one]):
            for b in _firsts(self._members[other]):
                self._note(a, b, likeness, meant)

    def _note(self, one: Sample, other: Sample, likeness: float, meant: str) -> None:
        first, later = sorted((one, other), key=lambda sample: self._place[id(sample)])
        for kind in self._kinds(first, later, likeness):
            known = self._best[id(later)].get(kind)
            if known is None or likeness > known.likeness:
                self._best[id(later)][kind] = _Copy(likeness, first, meant)

    def _kinds(self, first: Sample, later: Sample, likeness: float) -> list[str]:
        kinds = []
        if self._given_parts and first.split != later.split:
            kinds.append("leak")
        if first.label != later.label:
            kinds.append("label_conflict")
        return kinds or ["exact_duplicate" if likeness == _SAME_BYTES else "near_duplicate"]

    def issues(self) -> list[Issue]:
        found = []
        own = {id(sample): sample for members in self._members.values() for sample in members}
        for key in sorted(self._best, key=self._place.__getitem__):
            kinds = self._best[key]
            told = sorted(set(kinds) - _PLAIN) or sorted(kinds)[:1]
            for kind in told:
                other, words = kinds[kind].other, self._words(own[key], kinds[kind])
                if kind == "label_conflict":
                    words += f"; in {own[key].label} and in {other.label}"
                found.append(Issue(own[key].path, kind, other.path, words, kind not in _PLAIN))
        return found

    def _words(self, own: Sample, copy: _Copy) -> str:
        if copy.likeness == _SAME_BYTES:
            return "the same bytes"
        sizes = dict.fromkeys((self._sizes[own.sha256], self._sizes[copy.other.sha256]))
        return f"nearly the same, {copy.meant} {copy.likeness:.3f}; {' and '.join(sizes)} pixels"


def _firsts(members: Sequence[Sample]) -> list[Sample]:
    """The first of equal images in each class and part."""
    found: dict[tuple[str, str | None], Sample] = {}
    for sample in members:
        found.setdefault((sample.label, sample.split), sample)
    return list(found.values())
