"""What a finished run tells about itself, for the page: scores, confusions, images, curves."""

import contextlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from sharpeye.core.config import load_toml
from sharpeye.core.formatting import number
from sharpeye.core.metrics import confusion_matrix, reliability_bins
from sharpeye.core.tables import read_table
from sharpeye.errors import DataError, SharpEyeError
from sharpeye.report import charts, curves, wording
from sharpeye.report.tables import class_rows, matrix_table, top_confusions
from sharpeye.runs import layout
from sharpeye.runs.run_directory import Run

Row = dict[str, Any]


@contextlib.contextmanager
def reading(run: Run) -> Iterator[None]:
    """Turn what a damaged run directory raises into one line.

    Raises:
        DataError: a file is missing, or does not hold what it should.
    """
    try:
        yield
    except SharpEyeError:
        raise
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise DataError(
            f"the run {run.path.name} is damaged ({type(error).__name__}: {error}); train it again"
        ) from None


@lru_cache(maxsize=8)
def _answers(file: Path, modified_ns: int) -> tuple[Row, ...]:
    """The rows of `predictions.csv`; `modified_ns` tells a file from a later one."""
    return tuple(
        {
            "path": row["path"],
            "label": row["label"],
            "predicted": row["predicted"],
            "score": number(row["score"]),
            "iou": _or_none(row.get("iou")),
        }
        for row in read_table(file)
    )


def _or_none(value: Any) -> float | None:
    amount = number(value)
    return None if np.isnan(amount) else amount


def answers(run: Run) -> tuple[Row, ...]:
    """The answers for the test images: path, label, predicted, score 0..1, iou or None."""
    file = run.path / layout.PREDICTIONS
    return _answers(file, file.stat().st_mtime_ns)


def folder_of(run: Run) -> Path:
    """Where the images of a run were when it was trained."""
    return Path(load_toml(run.path / layout.CONFIG).data.folder).resolve()


def overview(run: Run) -> dict[str, Any]:
    """Everything about a run but its images, as JSON has it."""
    config = load_toml(run.path / layout.CONFIG)
    test, rows = run.metrics["test"], answers(run)
    index = {label: i for i, label in enumerate(run.labels)}
    truth = np.array([index[row["label"]] for row in rows], np.int64)
    said = np.array([index[row["predicted"]] for row in rows], np.int64)
    matrix = confusion_matrix(truth, said, len(run.labels))
    table = matrix_table(matrix, run.labels)
    return {
        "name": run.path.name,
        "task": config.task,
        "model": config.model.name,
        "folder": str(folder_of(run)),
        "labels": list(run.labels),
        "verdict": wording.verdict(test),
        "boxes": wording.box_verdict(test) if "mean_iou" in test else "",
        "count": test["count"],
        "mistakes": int((truth != said).sum()),
        "columns": table.columns,
        "rows": [
            {
                "label": label,
                "cells": [
                    None
                    if cell is None
                    else {"count": cell.count, "heat": cell.heat, "right": cell.right}
                    for cell in cells
                ],
            }
            for label, cells in table.rows
        ],
        "classes": [
            {"label": r.label, "right": r.recall, "low": r.low, "high": r.high, "count": r.support}
            for r in class_rows(test["per_class"], matrix)
        ],
        "confusions": [
            {"label": c.label, "predicted": c.predicted, "count": c.count}
            for c in top_confusions(matrix, run.labels)
        ],
        "calibration": _calibration(rows, test),
        "unknown": wording.strangers(test["unknown"], len(run.labels)) if "unknown" in test else [],
        "curves": curves_of(run.path),
        "seconds": run.metrics["seconds"].get("total"),
    }


def _calibration(rows: tuple[Row, ...], test: dict[str, Any]) -> dict[str, Any]:
    right = np.array([row["label"] == row["predicted"] for row in rows], bool)
    scores = np.array([row["score"] for row in rows], np.float64)
    # Two columns are enough for the bins: what was said, and anything else.
    pairs = np.stack([scores, np.zeros_like(scores)], axis=1) if rows else np.empty((0, 2))
    bins = reliability_bins((~right).astype(np.int64), pairs)
    return {
        "sentences": wording.calibration(test["ece"], test["count"], bins),
        "ece": _or_none(test["ece"]),
        "chart": charts.reliability_chart(bins) if bins else "",
        "bins": bins,
    }


def curves_of(path: Path) -> str:
    """The learning curves of a run, finished or not, as SVG; empty before there are some."""
    file = path / layout.HISTORY
    rows = read_table(file) if file.is_file() else []
    learned = curves.learning_curves(rows) if rows else None
    return "" if learned is None else curves.curve_chart(learned)


def images(
    run: Run,
    label: str | None = None,
    predicted: str | None = None,
    *,
    wrong: bool = False,
    offset: int = 0,
    count: int = 60,
) -> dict[str, Any]:
    """Some of the test images, those first of which the model was most sure.

    Args:
        label, predicted: of one cell of the confusion matrix; None for any.
        wrong: only mistakes.
        offset, count: which of them.
    """
    chosen = [
        row
        for row in answers(run)
        if (label is None or row["label"] == label)
        and (predicted is None or row["predicted"] == predicted)
        and not (wrong and row["label"] == row["predicted"])
    ]
    chosen.sort(key=lambda row: (-row["score"], row["path"]))
    offset, count = max(offset, 0), min(max(count, 0), 200)
    return {"total": len(chosen), "pictures": chosen[offset : offset + count]}
