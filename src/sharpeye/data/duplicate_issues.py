"""Report duplicate images: across splits, across classes, or within one class."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from sharpeye.core.types import SPLITS, Sample, SampleSet
from sharpeye.data.issues import Issue
from sharpeye.data.thumbnail import ThumbnailArray
from sharpeye.data.thumbnail_comparison import ImagePairs, concatenate

_WITHIN_CLASS = frozenset({"exact_duplicate", "near_duplicate"})
_SAME_BYTES = 2.0  # above any similarity


@dataclass(frozen=True, slots=True)
class _Duplicate:
    original: Sample
    similarity: float  # _SAME_BYTES, or -1..1
    measure: str


def duplicate_issues(
    samples: SampleSet,
    thumbnails: ThumbnailArray,
    thumbnail_samples: Sequence[Sample],
    *,
    pairs: ImagePairs,
    feature_pairs: ImagePairs,
) -> list[Issue]:
    """The issues of duplicate images, in the order of the images.

    An image is reported once per kind, with the image that is most similar to it. Of a pair, the
    held-out image is reported, else the later one.

    Args:
        thumbnails, thumbnail_samples: thumbnails and their images, one per digest.
        pairs: pairs of `thumbnails` that are nearly the same.
        feature_pairs: other pairs, with nearly the same features; their similarity is a cosine.
    """
    similar = concatenate([pairs, feature_pairs])
    pixel_sizes = {}  # by digest; only images with a near-duplicate, a few of a million
    for index in {*similar.first.tolist(), *similar.second.tolist()}:
        width, height = thumbnails[index]["width"], thumbnails[index]["height"]
        pixel_sizes[thumbnail_samples[index].sha256] = f"{width:.0f} x {height:.0f}"
    duplicates = _Duplicates(samples, pixel_sizes)
    columns = (similar.first.tolist(), similar.second.tolist(), similar.similarity.tolist())
    for number, (first, second, similarity) in enumerate(zip(*columns, strict=True)):
        digests = thumbnail_samples[first].sha256, thumbnail_samples[second].sha256
        measure = "likeness" if number < len(pairs) else "to the network, cosine"
        duplicates.add(digests, similarity, measure)
    return duplicates.issues()


class _Duplicates:
    """Collects for each image the most similar duplicate of each kind."""

    def __init__(self, samples: SampleSet, pixel_sizes: Mapping[str, str]) -> None:
        self._given_splits, self._pixel_sizes = samples.given_splits, pixel_sizes
        self._copies: dict[str, list[Sample]] = defaultdict(list)  # by digest
        self._order: dict[int, tuple[int, int]] = {}  # by id(): training first, then by path
        self._best: dict[int, dict[str, _Duplicate]] = defaultdict(dict)  # by id(), then by kind
        rank = {split: i for i, split in enumerate(SPLITS)}
        counts = Counter(sample.sha256 for sample in samples)
        for i, sample in enumerate(samples):
            if sample.sha256 in pixel_sizes or counts[sample.sha256] > 1:
                self._copies[sample.sha256].append(sample)
                self._order[id(sample)] = rank.get(sample.split or "train", 0), i
        for copies in self._copies.values():
            originals = _first_of_each(copies)
            for sample in copies:
                for original in originals:
                    if original is not sample:
                        self._add_pair(sample, original, _SAME_BYTES, measure="")

    def add(self, digests: tuple[str, str], similarity: float, measure: str) -> None:
        firsts, seconds = (_first_of_each(self._copies[digest]) for digest in digests)
        for a, b in product(firsts, seconds):
            self._add_pair(a, b, similarity, measure=measure)

    def _add_pair(self, a: Sample, b: Sample, similarity: float, *, measure: str) -> None:
        original, later = sorted((a, b), key=lambda sample: self._order[id(sample)])
        kinds = []
        if self._given_splits and original.split != later.split:
            kinds.append("leak")
        if original.label != later.label:
            kinds.append("label_conflict")
        within_class = "exact_duplicate" if similarity == _SAME_BYTES else "near_duplicate"
        best = self._best[id(later)]
        for kind in kinds or [within_class]:
            if kind not in best or similarity > best[kind].similarity:
                best[kind] = _Duplicate(original, similarity, measure)

    def issues(self) -> list[Issue]:
        issues = []
        by_id = {id(sample): sample for copies in self._copies.values() for sample in copies}
        for key in sorted(self._best, key=self._order.__getitem__):
            sample, best = by_id[key], self._best[key]
            for kind in sorted(set(best) - _WITHIN_CLASS) or sorted(best)[:1]:
                original, detail = best[kind].original, self._detail(sample, best[kind])
                if kind == "label_conflict":
                    detail += f"; in {sample.label} and in {original.label}"
                serious = kind not in _WITHIN_CLASS
                issues.append(Issue(sample.path, kind, original.path, detail, serious))
        return issues

    def _detail(self, sample: Sample, duplicate: _Duplicate) -> str:
        if duplicate.similarity == _SAME_BYTES:
            return "the same bytes"
        digests = (sample.sha256, duplicate.original.sha256)
        sizes = " and ".join(dict.fromkeys(self._pixel_sizes[digest] for digest in digests))
        return f"nearly the same, {duplicate.measure} {duplicate.similarity:.3f}; {sizes} pixels"


def _first_of_each(copies: Sequence[Sample]) -> list[Sample]:
    """The first of several equal images in each class and split."""
    firsts: dict[tuple[str, str | None], Sample] = {}
    for sample in copies:
        firsts.setdefault((sample.label, sample.split), sample)
    return list(firsts.values())
