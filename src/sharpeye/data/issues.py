"""What is wrong with a set of images: the list of issues, the gravest kinds first.

unreadable        a file that cannot be used
leak              the same image in two splits that the folder gives (train/, test/)
label_conflict    the same image in two classes; two class names that mean the same
mislabelled       probably in the wrong class; see `learn/heads/label_errors.py`
small_class       too few images, or far fewer than another class has
exact_duplicate   the same bytes twice in a class
near_duplicate    recompressed, resized, slightly cropped, or of one burst
blank dark bright blurred odd_aspect    see `image_quality.py`
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sharpeye.core.types import Rejected, Sample, SampleSet
from sharpeye.data.image_quality import quality_problems
from sharpeye.data.name_typos import find_name_typos
from sharpeye.data.thumbnail import ThumbnailArray

KINDS = (
    *("unreadable", "leak", "label_conflict", "mislabelled", "small_class"),
    *("exact_duplicate", "near_duplicate"),
    *("blank", "dark", "bright", "blurred", "odd_aspect"),
)

# Fewer images cannot be split; fewer than the second leave one or none to test with.
MIN_IMAGES, FEW_IMAGES = 3, 10
# A class is reported when the largest class has more than so many times as many images.
_MAX_IMBALANCE = 10


@dataclass(frozen=True, slots=True)
class Issue:
    """One thing that is wrong with one image or class: a line of `issues.csv`.

    Attributes:
        path: of the image, relative to the root; of a class, its name.
        kind: one of KINDS.
        related: the image or class that it is compared with; of `mislabelled` the class that is
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


def sort_issues(issues: Iterable[Issue]) -> list[Issue]:
    """By kind, gravest first; the order within a kind stays."""
    rank = {kind: i for i, kind in enumerate(KINDS)}
    return sorted(issues, key=lambda issue: rank[issue.kind])


def unreadable_issues(rejected: Iterable[Rejected]) -> list[Issue]:
    return [Issue(r.path, "unreadable", "", r.reason, serious=True) for r in rejected]


def class_issues(samples: SampleSet) -> list[Issue]:
    """Classes that are too small, and names that mean the same."""
    counts = samples.count_by_class()
    largest = max(counts, key=counts.__getitem__, default="")
    issues = []
    for label, count in counts.items():
        related = ""
        if count < MIN_IMAGES:
            problem = "too few to be split; add some, or use --drop-small"
        elif count < FEW_IMAGES:
            problem = "one or two to test with, so its scores say little"
        elif count * _MAX_IMBALANCE < counts[largest]:
            related = largest
            problem = f"{largest} has {counts[largest] / count:.0f} times as many"
        else:
            continue
        detail = f"{count} picture{'' if count == 1 else 's'}: {problem}"
        issues.append(Issue(label, "small_class", related, detail, serious=count < MIN_IMAGES))
    issues += [
        Issue(typo.label, "label_conflict", typo.other, typo.why, typo.serious)
        for typo in find_name_typos(samples.class_names)
    ]
    return issues


def quality_issues(thumbnails: ThumbnailArray, samples: Sequence[Sample]) -> list[Issue]:
    """Blank, dark, bright and blurred images, and those of an unusual shape.

    Args:
        thumbnails, samples: thumbnails, and the images that they are of.
    """
    return [
        Issue(samples[index].path, kind, "", detail)
        for index, kind, detail in quality_problems(thumbnails)
    ]


def count_by_kind(issues: Iterable[Issue]) -> dict[str, int]:
    """Number of issues by kind, those that occur, gravest first."""
    counts = Counter(issue.kind for issue in issues)
    return {kind: counts[kind] for kind in KINDS if kind in counts}
