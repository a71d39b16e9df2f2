"""List the issues of the classes and images of a data set, the most serious kinds first.

unreadable        a file that cannot be used
leak              the same image in two splits that the folder gives (train/, test/)
label_conflict    the same image in two classes; two class names with the same meaning
mislabelled       probably in the wrong class; see `learn/heads/label_errors.py`
small_class       too few images, or far fewer than in another class
exact_duplicate   the same bytes twice in a class
near_duplicate    recompressed, resized, slightly cropped, or of one burst
blank dark bright blurred odd_aspect    see `quality_issues`
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from sharpeye.core.arrays import Bools
from sharpeye.core.types import Rejected, Sample, SampleSet
from sharpeye.data.name_typos import find_name_typos
from sharpeye.data.thumbnail import ThumbnailArray

KINDS = (
    *("unreadable", "leak", "label_conflict", "mislabelled", "small_class"),
    *("exact_duplicate", "near_duplicate"),
    *("blank", "dark", "bright", "blurred", "odd_aspect"),
)

# Fewer images cannot be split; fewer than the second leave at most one test image.
MIN_IMAGES, FEW_IMAGES = 3, 10
# A class is reported if the largest class has more than so many times its images.
_MAX_IMBALANCE = 10

# Grey levels between the darkest and the lightest thousandth of the pixels.
_MIN_CONTRAST = 12
# The lightest thousandth of a dark image, the darkest of a bright one.
_DARK, _BRIGHT = 64, 200
# See `thumbnail.py`. Sharp images have 0.28 to 2.9, those blurred by 1 % of the side 0.07 to 0.17.
_MIN_SHARPNESS = 0.16
_MIN_SIDE = 64  # smaller images always look blurred
_MAX_ASPECT, _MAX_ASPECT_TO_MEDIAN = 4.0, 2.0


@dataclass(frozen=True, slots=True)
class Issue:
    """One issue of one image or class: a line of `issues.csv`.

    Attributes:
        path: the image's path, relative to the root; or the name of the class.
        kind: one of KINDS.
        related: the image or class that it is compared with; for `mislabelled` the suggested class;
            or empty.
        detail: the finding, in words.
        serious: whether the issue makes scores wrong or training impossible; `sharpeye check
            --strict` fails on these.
    """

    path: str
    kind: str
    related: str = ""
    detail: str = ""
    serious: bool = False


def sort_issues(issues: Iterable[Issue]) -> list[Issue]:
    """Sort by kind, the most serious first; the order within a kind stays."""
    return sorted(issues, key=lambda issue: KINDS.index(issue.kind))


def count_by_kind(issues: Iterable[Issue]) -> dict[str, int]:
    """Number of issues by kind, without zeros, the most serious first."""
    counts = Counter(issue.kind for issue in issues)
    return {kind: counts[kind] for kind in KINDS if kind in counts}


def unreadable_issues(rejected: Iterable[Rejected]) -> list[Issue]:
    """A file that could not be read for a passing reason is not serious: it may be good."""
    return [Issue(r.path, "unreadable", "", r.reason, not r.transient) for r in rejected]


def class_issues(samples: SampleSet) -> list[Issue]:
    """Classes that are too small, and names with the same meaning."""
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
        detail = f"{count} image{'' if count == 1 else 's'}: {problem}"
        issues.append(Issue(label, "small_class", related, detail, serious=count < MIN_IMAGES))
    typos = (
        Issue(typo.name, "label_conflict", typo.other, typo.detail, serious=typo.serious)
        for typo in find_name_typos(samples.class_names)
    )
    return [*issues, *typos]


def is_blank(thumbnails: ThumbnailArray) -> Bools:
    """bool[N]: whether an image has nearly one colour."""
    levels = thumbnails["quantiles"]
    blank: Bools = levels[:, -1] - levels[:, 0] < _MIN_CONTRAST
    return blank


def quality_issues(thumbnails: ThumbnailArray, samples: Sequence[Sample]) -> list[Issue]:
    """Blank, dark, bright and blurred images, and those of an unusual shape, in order.

    The limits are wide: a false alarm costs a person's time, and most slight defects do no harm. On
    203 drawings on white and 810 photographs without such defects there is no alarm. Of 100
    photographs, all are called dark at 15 % of their brightness; blurred by a Gaussian of 1 % of
    the longer side, 93 are called blurred, by 1.5 % all.

    Args:
        thumbnails: THUMBNAIL[N]; an aspect ratio is unusual compared with their median.
        samples: their images.
    """
    levels = thumbnails["quantiles"]
    darkest, median, lightest = levels[:, 0], levels[:, levels.shape[1] // 2], levels[:, -1]
    width, height, sharpness = (thumbnails[name] for name in ("width", "height", "sharpness"))
    blank = is_blank(thumbnails)
    dark, bright = ~blank & (lightest < _DARK), ~blank & (darkest > _BRIGHT)
    large = np.maximum(width, height) >= _MIN_SIDE
    blurred = ~blank & large & (sharpness < _MIN_SHARPNESS)
    aspect = np.log(np.maximum(width, 1) / np.maximum(height, 1))
    usual = np.median(aspect) if len(aspect) else 0.0
    odd_aspect = np.abs(aspect) > np.log(_MAX_ASPECT)
    odd_aspect &= np.abs(aspect - usual) > np.log(_MAX_ASPECT_TO_MEDIAN)
    issues = []
    for i in np.flatnonzero(blank | dark | bright | blurred | odd_aspect).tolist():
        faults = (
            (blank, "blank", f"nothing but grey level {median[i]:.0f} of 255"),
            (dark, "dark", f"no pixel is lighter than {lightest[i]:.0f} of 255"),
            (bright, "bright", f"no pixel is darker than {darkest[i]:.0f} of 255"),
            (
                blurred,
                "blurred",
                f"sharpness {sharpness[i]:.2f}; others have {_MIN_SHARPNESS} or more",
            ),
            (odd_aspect, "odd_aspect", f"{width[i]:.0f} x {height[i]:.0f} pixels"),
        )
        issues += [Issue(samples[i].path, kind, "", why) for mask, kind, why in faults if mask[i]]
    return issues
