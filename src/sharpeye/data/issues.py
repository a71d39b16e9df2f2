"""What is wrong with a set of pictures: the list of issues, the gravest kinds first.

unreadable        a file that cannot be used
leak              the same picture in two parts that the folder gives (train/, test/)
label_conflict    the same picture in two classes; two class names that mean the same
mislabelled       probably in the wrong class; see `learn/heads/label_errors.py`
small_class       too few pictures, or far fewer than another class has
exact_duplicate   the same bytes twice in a class
near_duplicate    recompressed, resized, slightly cropped, or of one burst
blank dark bright blurred odd_aspect    see `odd.py`
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sharpeye.core.types import Rejected, Sample, SampleSet
from sharpeye.data.image_quality import odd_pictures
from sharpeye.data.name_typos import slips
from sharpeye.data.thumbnail import Looks

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

# Fewer pictures cannot be split; fewer than the second leave one or none to test with.
LEAST_PICTURES, FEW_PICTURES = 3, 10
# How many times as many the largest class has, from which on that is worth a line.
_IMBALANCE = 10


@dataclass(frozen=True, slots=True)
class Issue:
    """One thing that is wrong with one picture or class: a line of `issues.csv`.

    Attributes:
        path: of the picture, relative to the root; of a class, its name.
        kind: one of KINDS.
        related: the picture or class that it is compared with; of `mislabelled` the class that is
            suggested; or empty.
        detail: what was found, in words.
        serious: whether scores are wrong or training is impossible until it is mended; `sharpeye
            check --strict` fails on these.
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
    counts = samples.count_by_label()
    largest = max(counts, key=counts.__getitem__, default="")
    found = []
    for label, count in counts.items():
        other = ""
        if count < LEAST_PICTURES:
            detail = "too few to be split; add some, or use --drop-small"
        elif count < FEW_PICTURES:
            detail = "one or two to test with, so its scores say little"
        elif count * _IMBALANCE < counts[largest]:
            other, detail = largest, f"{largest} has {counts[largest] / count:.0f} times as many"
        else:
            continue
        serious = count < LEAST_PICTURES
        found.append(Issue(label, "small_class", other, f"{_pictures(count)}: {detail}", serious))
    found += [
        Issue(slip.label, "label_conflict", slip.other, slip.why, slip.serious)
        for slip in slips(samples.labels)
    ]
    return found


def odd_issues(looks: Looks, seen: Sequence[Sample]) -> list[Issue]:
    """Blank, dark, bright, blurred and oddly shaped pictures.

    Args:
        looks, seen: looks, and the pictures that they are of.
    """
    return [Issue(seen[row].path, kind, "", detail) for row, kind, detail in odd_pictures(looks)]


def counts_of(issues: Iterable[Issue]) -> dict[str, int]:
    """Number of issues by kind, those that occur, gravest first."""
    counts = Counter(issue.kind for issue in issues)
    return {kind: counts[kind] for kind in KINDS if kind in counts}


def _pictures(count: int) -> str:
    return f"{count} picture{'' if count == 1 else 's'}"
