"""What is wrong with a set of pictures: the list of issues, the gravest kinds first.

unreadable        a file that cannot be used
leak              the same picture in two parts that the folder gives (train/, test/)
label_conflict    the same picture in two classes; two class names that mean the same
mislabelled       probably in the wrong class; see `training/mislabels.py`
small_class       too few pictures
exact_duplicate   the same bytes twice in a class
near_duplicate    recompressed, resized, slightly cropped, or of one burst
blank dark bright blurred odd_aspect    see `odd.py`
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sharpeye.data.label_names import slips
from sharpeye.data.look import Looks
from sharpeye.data.near import Pairs
from sharpeye.data.odd import odd_pictures
from sharpeye.types import PARTS, Rejected, Sample, SampleSet

KINDS = (
    "unreadable",
    "leak",
    "label_conflict",
    "mislabelled",
    "small_class",
    "exact_duplicate",
    "near_duplicate",
    "blank",
    "dark",
    "bright",
    "blurred",
    "odd_aspect",
)
# What makes scores wrong or training impossible: `sharpeye check --strict` fails on these.
SERIOUS = frozenset({"unreadable", "leak", "label_conflict"})

# Fewer pictures cannot be split; fewer than the second leave one or none to test with.
LEAST_PICTURES, FEW_PICTURES = 3, 10


@dataclass(frozen=True, slots=True)
class Issue:
    """One thing that is wrong with one picture or class: a line of `issues.csv`.

    Attributes:
        path: of the picture, relative to the root; of a class, its name.
        kind: one of KINDS.
        related: the picture or class that it is compared with; of `mislabelled` the class that is
            suggested; or empty.
        detail: what was found, in words.
        serious: whether scores are wrong or training is impossible until it is mended.
    """

    path: str
    kind: str
    related: str = ""
    detail: str = ""
    serious: bool = False


def in_order(issues: Iterable[Issue]) -> list[Issue]:
    """By kind, gravest first; within a kind as they came."""
    rank = {kind: i for i, kind in enumerate(KINDS)}
    return sorted(issues, key=lambda issue: rank[issue.kind])


def unreadable(rejected: Iterable[Rejected]) -> list[Issue]:
    return [Issue(r.path, "unreadable", "", r.reason, serious=True) for r in rejected]


def class_issues(samples: SampleSet) -> list[Issue]:
    """Classes that are too small, and names that mean the same."""
    found = []
    for label, count in samples.count_by_label().items():
        if count < LEAST_PICTURES:
            detail = f"{_pictures(count)}: too few to be split; add some, or use --drop-small"
            found.append(Issue(label, "small_class", "", detail, serious=True))
        elif count < FEW_PICTURES:
            detail = f"{_pictures(count)}: one or two to test with, so its scores say little"
            found.append(Issue(label, "small_class", "", detail))
    found += [
        Issue(label, "label_conflict", other, why, serious=bool(other))
        for label, other, why in slips(samples.labels)
    ]
    return found


def odd_issues(looks: Looks, seen: Sequence[Sample]) -> list[Issue]:
    """Blank, dark, bright, blurred and oddly shaped pictures.

    Args:
        looks, seen: looks, and the pictures that they are of.
    """
    return [Issue(seen[row].path, kind, "", detail) for row, kind, detail in odd_pictures(looks)]


@dataclass(frozen=True, slots=True)
class _Likeness:
    score: float  # 2 for equal bytes, else the correlation of the edges
    other: Sample
    detail: str


def copy_issues(
    samples: SampleSet, looks: Looks, seen: Sequence[Sample], pairs: Pairs
) -> list[Issue]:
    """Pictures that are there twice: across parts, across classes, or within one.

    Each is told once a kind, with the most alike of the others. Of two, the held-out one is told
    of, or the one that comes later.

    Args:
        looks, seen: looks, and the pictures that they are of, one a digest.
        pairs: of rows of `looks` that are nearly the same.
    """
    copies: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        copies[sample.sha256].append(sample)
    order = _order(samples)
    best: dict[int, dict[str, _Likeness]] = defaultdict(dict)
    own = {id(sample): sample for sample in samples}

    row_of = {sample.sha256: row for row, sample in enumerate(seen)}

    def detail_of(later: Sample, first: Sample, score: float) -> str:
        if score > 1:
            return "the same bytes"
        return _difference(looks[row_of[later.sha256]], looks[row_of[first.sha256]], score)

    def note(one: Sample, other: Sample, score: float) -> None:
        first, later = sorted((one, other), key=lambda sample: order[id(sample)])
        for kind in _kinds(first, later, score, samples.given_parts):
            known = best[id(later)].get(kind)
            if known is None or score > known.score:
                best[id(later)][kind] = _Likeness(score, first, detail_of(later, first, score))

    for members in copies.values():
        for member in members:
            for other in _firsts(members):
                if other is not member:
                    note(member, other, 2.0)
    for one, other, score in zip(
        pairs.first.tolist(), pairs.second.tolist(), pairs.edges.tolist(), strict=True
    ):
        for a in _firsts(copies[seen[one].sha256]):
            for b in _firsts(copies[seen[other].sha256]):
                note(a, b, score)
    issues = []
    for key in sorted(best, key=order.__getitem__):
        kinds = best[key]
        plain = {"exact_duplicate", "near_duplicate"}
        told = set(kinds) - plain or set(sorted(kinds)[:1])
        for kind in sorted(told):
            found = kinds[kind]
            detail = found.detail
            if kind == "label_conflict":
                detail += f"; in {own[key].label} and in {found.other.label}"
            issues.append(Issue(own[key].path, kind, found.other.path, detail, kind not in plain))
    return issues


def _order(samples: SampleSet) -> dict[int, int]:
    """The place of each sample by id(): training first, where the folder gives parts."""
    rank = {part: i for i, part in enumerate(PARTS)}
    ranked = sorted(samples, key=lambda sample: rank.get(sample.part or "train", 0))
    return {id(sample): place for place, sample in enumerate(ranked)}


def _kinds(first: Sample, later: Sample, score: float, given_parts: bool) -> list[str]:
    kinds = []
    if given_parts and first.part != later.part:
        kinds.append("leak")
    if first.label != later.label:
        kinds.append("label_conflict")
    return kinds or ["exact_duplicate" if score > 1 else "near_duplicate"]


def _firsts(members: Sequence[Sample]) -> list[Sample]:
    """The first of equal pictures in each class and part."""
    found: dict[tuple[str, str | None], Sample] = {}
    for sample in members:
        found.setdefault((sample.label, sample.part), sample)
    return list(found.values())


def _difference(one: Looks, other: Looks, score: float) -> str:
    sizes = [f"{look['width']:.0f} x {look['height']:.0f}" for look in (one, other)]
    size = f"{sizes[0]} pixels" if sizes[0] == sizes[1] else f"{sizes[0]} and {sizes[1]} pixels"
    return f"nearly the same, likeness {score:.3f}; {size}"


def counts_of(issues: Iterable[Issue]) -> dict[str, int]:
    """Number of issues by kind, those that occur, gravest first."""
    counts = Counter(issue.kind for issue in issues)
    return {kind: counts[kind] for kind in KINDS if kind in counts}


def _pictures(count: int) -> str:
    return f"{count} picture{'' if count == 1 else 's'}"
