"""Compute the report's tables: confusions, classes, images by split, times. No HTML here."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sharpeye.core.formatting import number
from sharpeye.core.types import SPLITS

Matrix = npt.NDArray[np.int64]

# A browser lays out some 20,000 cells at once without a pause; beyond, only the classes that
# are confused most are shown.
_MAX_CLASSES = 150
# Scores of a class that mean nothing without test images of it.
_IF_SUPPORTED = ("recall", "f1", "mean_iou", "accuracy_at_iou50")


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
        classes: number of all classes; `columns` may hold only the most confused.
    """

    columns: list[str]
    rows: list[tuple[str, list[Cell | None]]]
    classes: int


@dataclass(frozen=True, slots=True)
class Confusion:
    """Images of class `label` that were predicted as class `predicted`."""

    key: str
    label: str
    predicted: str
    count: int


@dataclass(frozen=True, slots=True)
class ClassRow:
    """Scores of one class, 0..1; None where the test images do not give one, or without boxes.

    `low` and `high` are the ends of the recall's 95 % interval, `found` is the share with the right
    class and an IoU of 0.5 or more.
    """

    label: str
    precision: float | None
    recall: float | None
    low: float
    high: float
    f1: float | None
    support: int
    mean_iou: float | None = None
    found: float | None = None


@dataclass(frozen=True, slots=True)
class CountTable:
    """Images by class and split.

    Attributes:
        splits: names of the columns.
        rows: (class name, count of each split, sum).
        totals: count of each split over all classes, then their sum.
    """

    splits: list[str]
    rows: list[tuple[str, list[int], int]]
    totals: list[int]


def matrix_table(matrix: Matrix, class_names: Sequence[str]) -> MatrixTable:
    """Lay out a confusion matrix, int64[C,C] with rows for true classes."""
    shown: Sequence[int] = range(len(class_names))
    if len(class_names) > _MAX_CLASSES:
        wrong = matrix.sum(axis=0) + matrix.sum(axis=1) - 2 * matrix.diagonal()
        shown = sorted(np.argsort(-wrong, kind="stable")[:_MAX_CLASSES].tolist())
    heat = np.sqrt(matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)).round(2).tolist()
    counts = matrix.tolist()
    rows: list[tuple[str, list[Cell | None]]] = [
        (
            class_names[t],
            [
                Cell(f"{t}-{p}", counts[t][p], heat[t][p], t == p) if counts[t][p] else None
                for p in shown
            ],
        )
        for t in shown
    ]
    return MatrixTable([class_names[p] for p in shown], rows, len(class_names))


def top_confusions(matrix: Matrix, class_names: Sequence[str], limit: int = 6) -> list[Confusion]:
    """The most frequent confusions that happened more than once, most frequent first."""
    wrong = matrix - np.diag(matrix.diagonal())
    order = np.argsort(-wrong, axis=None, kind="stable")[:limit]
    pairs = [divmod(int(i), len(class_names)) for i in order]
    return [
        Confusion(f"{t}-{p}", class_names[t], class_names[p], int(wrong[t, p]))
        for t, p in pairs
        if wrong[t, p] > 1
    ]


def class_rows(per_class: Mapping[str, Mapping[str, Any]], matrix: Matrix) -> list[ClassRow]:
    """One row a class, worst F1 first, classes without test images last.

    Args:
        per_class: as `metrics.per_class` returns it, in the order of the matrix.
        matrix: int64[C,C].
    """
    rows = []
    for (label, scores), predicted in zip(
        per_class.items(), matrix.sum(axis=0).tolist(), strict=True
    ):
        support = int(scores["support"])
        known = {name: float(scores[name]) for name in _IF_SUPPORTED if support and name in scores}
        rows.append(
            ClassRow(
                label=label,
                precision=float(scores["precision"]) if predicted else None,
                recall=known.get("recall"),
                low=float(scores["recall_ci95"][0]),
                high=float(scores["recall_ci95"][1]),
                f1=known.get("f1"),
                support=support,
                mean_iou=known.get("mean_iou"),
                found=known.get("accuracy_at_iou50"),
            )
        )
    return sorted(rows, key=lambda r: (r.f1 is None, r.f1 or 0.0, r.recall or 0.0))


def count_table(counts: Mapping[str, Mapping[str, int]]) -> CountTable:
    """Images by class and split, with sums; the splits in their usual order."""
    names = {split for row in counts.values() for split in row}
    splits = [split for split in SPLITS if split in names] + sorted(names.difference(SPLITS))
    rows = [
        (label, [int(row.get(split, 0)) for split in splits], sum(int(n) for n in row.values()))
        for label, row in counts.items()
    ]
    sums = [sum(row[1][i] for row in rows) for i in range(len(splits))]
    return CountTable(splits, rows, [*sums, sum(sums)])


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
