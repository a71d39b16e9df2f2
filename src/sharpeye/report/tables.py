"""What the report's tables hold: confusions, classes, images by part. No HTML here."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sharpeye.core.types import SPLITS
from sharpeye.report.wording import number

Ints = npt.NDArray[np.int64]

# A browser lays out some 20,000 cells at once without a pause; beyond, only the classes that
# are confused most are shown.
_MAX_CLASSES = 150


@dataclass(frozen=True, slots=True)
class Cell:
    """One non-empty cell of the confusion matrix.

    Attributes:
        key: "true index-predicted index".
        count: images in it.
        heat: 0..1, root of its share of the row: a single mistake among hundreds stays visible.
        right: whether it is on the diagonal.
    """

    key: str
    count: int
    heat: float
    right: bool


@dataclass(frozen=True, slots=True)
class MatrixTable:
    """The confusion matrix as rows of cells; None stands for an empty one.

    Attributes:
        columns: class names in order.
        rows: (class name, cells) in the same order.
        classes: how many there are in all; more than `columns` if only the most confused show.
    """

    columns: list[str]
    rows: list[tuple[str, list[Cell | None]]]
    classes: int


@dataclass(frozen=True, slots=True)
class Confusion:
    """Images of class `label` that were taken for class `predicted`."""

    key: str
    label: str
    predicted: str
    count: int


@dataclass(frozen=True, slots=True)
class ClassRow:
    """Scores of one class, 0..1; None where the test images cannot tell, or without boxes."""

    label: str
    precision: float | None
    recall: float | None
    low: float
    high: float
    f1: float | None
    support: int
    mean_iou: float | None = None
    found: float | None = None  # with the right class and IoU >= 0.5


@dataclass(frozen=True, slots=True)
class CountTable:
    """Images by class and part.

    Attributes:
        parts: names of the columns.
        rows: (class name, count of each part, sum).
        totals: count of each part over all classes, then their sum.
    """

    parts: list[str]
    rows: list[tuple[str, list[int], int]]
    totals: list[int]


def matrix_table(matrix: Ints, labels: Sequence[str]) -> MatrixTable:
    """Lay out a confusion matrix, int64[C,C] with rows for true classes."""
    shown: Sequence[int] = range(len(labels))
    if len(labels) > _MAX_CLASSES:
        wrong = matrix.sum(axis=0) + matrix.sum(axis=1) - 2 * matrix.diagonal()
        most = np.argsort(-wrong, kind="stable")[:_MAX_CLASSES]
        shown = sorted(int(c) for c in most)
    heat = np.sqrt(matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)).round(2).tolist()
    counts = matrix.tolist()
    rows: list[tuple[str, list[Cell | None]]] = [
        (
            labels[t],
            [
                Cell(f"{t}-{p}", counts[t][p], heat[t][p], t == p) if counts[t][p] else None
                for p in shown
            ],
        )
        for t in shown
    ]
    return MatrixTable([labels[p] for p in shown], rows, len(labels))


def top_confusions(matrix: Ints, labels: Sequence[str], limit: int = 6) -> list[Confusion]:
    """The most frequent confusions that happened more than once, most frequent first."""
    wrong = matrix - np.diag(matrix.diagonal())
    order = np.argsort(-wrong, axis=None, kind="stable")[:limit]
    pairs = [divmod(int(i), len(labels)) for i in order]
    return [
        Confusion(f"{t}-{p}", labels[t], labels[p], int(wrong[t, p]))
        for t, p in pairs
        if wrong[t, p] > 1
    ]


def class_rows(per_class: Mapping[str, Mapping[str, Any]], matrix: Ints) -> list[ClassRow]:
    """One row a class, worst F1 first, classes without test images last.

    Args:
        per_class: as `metrics.per_class` returns it, in the order of the matrix.
        matrix: int64[C,C].
    """
    claimed = matrix.sum(axis=0).tolist()
    rows = []
    for (label, scores), said in zip(per_class.items(), claimed, strict=True):
        support = int(scores["support"])
        low, high = scores["recall_ci95"]
        rows.append(
            ClassRow(
                label=label,
                precision=float(scores["precision"]) if said else None,
                recall=float(scores["recall"]) if support else None,
                low=float(low),
                high=float(high),
                f1=float(scores["f1"]) if support else None,
                support=support,
                mean_iou=_known(scores, "mean_iou", support),
                found=_known(scores, "accuracy_at_iou50", support),
            )
        )
    return sorted(rows, key=lambda r: (r.f1 is None, r.f1 or 0.0, r.recall or 0.0))


def _known(scores: Mapping[str, Any], name: str, support: int) -> float | None:
    return float(scores[name]) if support and name in scores else None


def count_table(counts: Mapping[str, Mapping[str, int]]) -> CountTable:
    """Images by class and part, with sums; the parts in their usual order."""
    names = {part for row in counts.values() for part in row}
    parts = [part for part in SPLITS if part in names] + sorted(names.difference(SPLITS))
    rows = [
        (label, [int(row.get(part, 0)) for part in parts], sum(int(v) for v in row.values()))
        for label, row in counts.items()
    ]
    sums = [sum(row[1][i] for row in rows) for i in range(len(parts))]
    return CountTable(parts, rows, [*sums, sum(sums)])


def time_rows(seconds: Any) -> tuple[list[tuple[str, float, float]], float]:
    """`metrics["seconds"]` as bars.

    Args:
        seconds: {"step": seconds}; "total", if there, is their sum and no step of its own.

    Returns:
        (name, seconds, share 0..1 of the longest) in the given order, and the total (NaN if
        nothing is known).
    """
    known = {str(k): number(v) for k, v in seconds.items()} if isinstance(seconds, Mapping) else {}
    known = {name: value for name, value in known.items() if math.isfinite(value)}
    total = known.pop("total", sum(known.values()) if known else math.nan)
    longest = max(known.values(), default=0.0) or 1.0
    return [(k.replace("_", " "), v, max(v, 0.0) / longest) for k, v in known.items()], total
