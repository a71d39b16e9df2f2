"""The results of a finished run for the page Understand.

Scores, the confusion matrix, the test images, calibration and learning curves, JSON-ready.
"""

import contextlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from sharpeye.core.config_paths import locate
from sharpeye.core.formatting import number
from sharpeye.core.metrics import confusion_matrix, reliability_bins
from sharpeye.core.tables import read_table
from sharpeye.errors import DataError, SharpEyeError
from sharpeye.report import charts, curves, wording
from sharpeye.report.page_tables import class_rows, matrix_table, top_confusions
from sharpeye.runs import layout
from sharpeye.runs.run_directory import Run

_IMAGES_PER_PAGE = 60


@contextlib.contextmanager
def damage_as_data_error(run: Run) -> Iterator[None]:
    """Turn the errors of reading a damaged run directory into one DataError."""
    try:
        yield
    except SharpEyeError:
        raise
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise DataError(
            f"the run {run.path.name} is damaged ({type(error).__name__}: {error}); train it again"
        ) from None


def _read_predictions(run: Run) -> tuple[dict[str, Any], ...]:
    """The predictions for the test images: path, label, predicted, score 0..1, iou or None."""
    file = run.path / layout.PREDICTIONS
    return _read_prediction_file(file, file.stat().st_mtime_ns)


@lru_cache(maxsize=8)
def _read_prediction_file(file: Path, modified_ns: int) -> tuple[dict[str, Any], ...]:
    """`modified_ns` distinguishes a file from a later one."""
    return tuple(
        {
            **{column: row[column] for column in ("path", "label", "predicted")},
            "score": number(row["score"]),
            "iou": _number_or_none(row.get("iou")),
        }
        for row in read_table(file)
    )


def _number_or_none(value: Any) -> float | None:
    parsed = number(value)
    return None if np.isnan(parsed) else parsed


def image_folder(run: Run) -> Path:
    """The folder of a run's images at training time."""
    return locate(run.config, run.config.data.folder).resolve()


def overview(run: Run) -> dict[str, Any]:
    """All results of a run except its test images."""
    test, predictions = run.metrics["test"], _read_predictions(run)
    index = {label: i for i, label in enumerate(run.labels)}
    targets = np.array([index[row["label"]] for row in predictions], np.int64)
    predicted = np.array([index[row["predicted"]] for row in predictions], np.int64)
    matrix = confusion_matrix(targets, predicted, len(run.labels))
    table = matrix_table(matrix, run.labels)
    unknown = wording.ood_findings(test["unknown"], len(run.labels)) if "unknown" in test else []
    return {
        "name": run.path.name,
        "task": run.config.task,
        "model": run.config.model.name,
        "folder": str(image_folder(run)),
        "labels": list(run.labels),
        "verdict": wording.headline(test),
        "boxes": wording.box_headline(test) if "mean_iou" in test else "",
        "count": test["count"],
        "mistakes": int((targets != predicted).sum()),
        "columns": table.columns,
        "rows": [
            {
                "label": label,
                "cells": [
                    cell and {"count": cell.count, "heat": cell.heat, "right": cell.right}
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
        "calibration": _calibration(predictions, test),
        "unknown": unknown,
        "curves": learning_curves_svg(run.path),
        "seconds": run.metrics["seconds"].get("total"),
    }


def _calibration(predictions: tuple[dict[str, Any], ...], test: dict[str, Any]) -> dict[str, Any]:
    correct = np.array([row["label"] == row["predicted"] for row in predictions], bool)
    scores = np.array([row["score"] for row in predictions], np.float64)
    # The bins need only two columns: the predicted class, and all others.
    probs = np.stack([scores, np.zeros_like(scores)], axis=1)
    bins = reliability_bins((~correct).astype(np.int64), probs)
    return {
        "sentences": wording.calibration_findings(test["ece"], test["count"], bins),
        "ece": _number_or_none(test["ece"]),
        "chart": charts.reliability_chart(bins) if bins else "",
        "bins": bins,
    }


def learning_curves_svg(path: Path) -> str:
    """The learning curves of a run, finished or not, as SVG; empty if there are none yet."""
    file = path / layout.HISTORY
    history = read_table(file) if file.is_file() else []
    learning_curves = curves.learning_curves(history) if history else None
    return "" if learning_curves is None else curves.curve_chart(learning_curves)


def select_test_images(
    run: Run, label: str | None, predicted: str | None, *, only_mistakes: bool, offset: int
) -> dict[str, Any]:
    """A page of the test images from `offset` on, by descending score.

    Args:
        label, predicted: select one cell of the confusion matrix; None selects all.
    """
    rows = [
        row
        for row in _read_predictions(run)
        if (label is None or row["label"] == label)
        and (predicted is None or row["predicted"] == predicted)
        and not (only_mistakes and row["label"] == row["predicted"])
    ]
    rows.sort(key=lambda row: (-row["score"], row["path"]))
    offset = max(offset, 0)
    return {"total": len(rows), "pictures": rows[offset : offset + _IMAGES_PER_PAGE]}
