"""Say which of the evaluated images a model was trained on, and lead with the others."""

from collections.abc import Mapping
from typing import Any

from sharpeye.core.formatting import number, plain_percent
from sharpeye.data.training_overlap import TRAINING_EXPOSURES, Exposure
from sharpeye.report.evaluation import Evaluation

_NAMES: dict[Exposure, str] = {
    "new": "new images",
    "test": "test images of the run",
    "near_copy": "nearly the same as training images",
    "validation": "validation images of the run",
    "train": "training images of the run",
}

NOT_KNOWN = (
    "whether the model was trained on these images cannot be told, as {model} has no split.csv; "
    "give the run directory instead"
)


def accuracy_line(evaluation: Evaluation, run_test: Mapping[str, Any] | None = None) -> str:
    """The accuracy on unseen images with its interval; that it is unknown if there are none.

    Args:
        run_test: the entry `test` of the run's `metrics.json`, if it is at hand.
    """
    scores = evaluation.metrics
    if scores["count"]:
        origin = " that it was not trained on" if evaluation.exposures is not None else ""
        low, high = (plain_percent(end) for end in scores["accuracy_ci95"])
        return (
            f"{plain_percent(scores['accuracy'])} of {scores['count']} images{origin}, "
            f"95 % interval {low} to {high}"
        )
    line = f"unknown for new images: {_only_training_images(evaluation)}"
    if run_test and run_test.get("count"):
        share = plain_percent(number(run_test.get("accuracy")))
        line += f"; the run's test accuracy is {share} of {run_test['count']} images"
    return line


def _only_training_images(evaluation: Evaluation) -> str:
    counts = {name: row["count"] for name, row in evaluation.by_exposure.items()}
    total = sum(counts.values())
    these = f"these {total} images" if total > 1 else "this image"
    same = " or on nearly the same ones" if counts.get("near_copy") else ""
    return f"the model was trained on {these}{same}, so a score on them says nothing about others"


def exposure_rows(evaluation: Evaluation) -> list[tuple[str, bool, Mapping[str, Any]]]:
    """(name, whether the model was trained on them, scores) of each kind, unseen ones first.

    The scores are `count`, `accuracy` and `accuracy_ci95`. Empty if the kinds are not known.
    """
    rows = evaluation.by_exposure
    return [
        (_NAMES[kind], kind in TRAINING_EXPOSURES, rows[kind]) for kind in _NAMES if kind in rows
    ]


def exposure_lines(evaluation: Evaluation) -> list[str]:
    """The rows as a table of plain text; empty if all images are new or of the test split."""
    rows = exposure_rows(evaluation)
    if len(rows) < 2 and not any(overlaps for _, overlaps, _ in rows):
        return []
    width = max(len(name) for name, _, _ in rows)
    digits = max(len(str(scores["count"])) for _, _, scores in rows)
    lines = []
    for name, _, scores in rows:
        low, high = (plain_percent(end) for end in scores["accuracy_ci95"])
        share = plain_percent(scores["accuracy"])
        lines.append(
            f"  {name:<{width}}  {scores['count']:>{digits}}  {share:>6}  ({low} to {high})"
        )
    return lines
