"""Compute the report's tables: confusions, classes, images by split, times. No HTML here."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sharpeye.core.arrays import Ints
from sharpeye.core.formatting import number
from sharpeye.core.types import SPLITS

# A browser lays out about 20,000 cells without a pause; with more, only the most confused classes
# are shown.
_MAX_CLASSES = 150


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of the confusion matrix that holds images."""

    key: str  # "true index-predicted index"
    count: int
    heat: float  # 0..1, root of its share of the row: a single mistake among hundreds stays visible
    right: bool


@dataclass(frozen=True, slots=True)
class MatrixTable:
    """The confusion matrix as rows of cells, each with its class name; None is an empty cell."""

    columns: list[str]  # class names, in the order of the rows
    rows: list[tuple[str, list[Cell | None]]]
    classes: int  # number of all classes; the table may hold only the most confused


@dataclass(frozen=True, slots=True)
class Confusion:
    """Images of class `label` that were predicted as class `predicted`."""

    key: str
    label: str
    predicted: str
    count: int


@dataclass(frozen=True, slots=True)
class ClassRow:
    """Scores of one class, 0..1; None if undefined for the test images, or without boxes.

    `low` and `high` are the ends of the recall's 95 % interval, `found` is the share with the
    correct class and an IoU of 0.5 or more.
    """

    label: str
    precision: float | None
    recall: float | None
    low: float
    high: float
    f1: float | None
    support: int
    mean_iou: float | None = None
    accuracy_at_iou50: float | None = None


@dataclass(frozen=True, slots=True)
class CountTable:
    """Images by class and split."""

    splits: list[str]
    rows: list[tuple[str, list[int], int]]  # class name, count of each split, sum
    totals: list[int]  # sum of each split, then of all


def matrix_table(matrix: Ints, class_names: Sequence[str]) -> MatrixTable:
    """Lay out a confusion matrix, int64[C,C] with rows for true classes."""
    shown: Sequence[int] = range(len(class_names))
    if len(class_names) > _MAX_CLASSES:
        wrong = matrix.sum(axis=0) + matrix.sum(axis=1) - 2 * matrix.diagonal()
        shown = sorted(np.argsort(-wrong, kind="stable")[:_MAX_CLASSES].tolist())
    heat = np.sqrt(matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)).round(2).tolist()
    rows = []
    for t in shown:
        counts = matrix[t].tolist()
        cells = [
            Cell(f"{t}-{p}", n, heat[t][p], t == p) if (n := counts[p]) else None for p in shown
        ]
        rows.append((class_names[t], cells))
    return MatrixTable([class_names[p] for p in shown], rows, len(class_names))


def top_confusions(matrix: Ints, class_names: Sequence[str], limit: int = 6) -> list[Confusion]:
    """The most frequent confusions that happened more than once, in descending order."""
    wrong = matrix - np.diag(matrix.diagonal())
    order = np.argsort(-wrong, axis=None, kind="stable")[:limit]
    return [
        Confusion(f"{t}-{p}", class_names[t], class_names[p], int(wrong[t, p]))
        for t, p in (divmod(int(i), len(class_names)) for i in order)
        if wrong[t, p] > 1
    ]


def class_rows(per_class: Mapping[str, Mapping[str, Any]], matrix: Ints) -> list[ClassRow]:
    """One row per class, lowest F1 first, classes without test images last.

    Args:
        per_class: the result of `metrics.per_class`, in the order of the matrix.
        matrix: int64[C,C].
    """
    rows = []
    for (label, scores), predicted in zip(per_class.items(), matrix.sum(axis=0), strict=True):
        support = int(scores["support"])
        names = ("recall", "f1", "mean_iou", "accuracy_at_iou50")
        known = {name: float(scores[name]) for name in names if support and name in scores}
        row = ClassRow(
            label=label,
            precision=float(scores["precision"]) if predicted else None,
            recall=known.get("recall"),
            low=float(scores["recall_ci95"][0]),
            high=float(scores["recall_ci95"][1]),
            f1=known.get("f1"),
            support=support,
            mean_iou=known.get("mean_iou"),
            accuracy_at_iou50=known.get("accuracy_at_iou50"),
        )
        rows.append(row)
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
    """The bars of `metrics["seconds"]`, {"step": seconds}: (name, seconds, share of the longest).

    The last one is the total: the entry "total", else the sum, or NaN without entries.
    """
    known = {str(k): number(v) for k, v in seconds.items()} if isinstance(seconds, Mapping) else {}
    known = {name: value for name, value in known.items() if math.isfinite(value)}
    total = known.pop("total", sum(known.values()) if known else math.nan)
    longest = max(known.values(), default=0.0) or 1.0
    return [(k.replace("_", " "), v, max(v, 0.0) / longest) for k, v in known.items()], total
