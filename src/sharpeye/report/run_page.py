"""Render `report.html`, the page of a trained or evaluated model: one self-contained file."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sharpeye.core.arrays import Floats
from sharpeye.core.formatting import MISSING, percent
from sharpeye.core.types import Rejected
from sharpeye.images.heat_overlay import COLOURS
from sharpeye.report import charts, curves, page_tables, wording
from sharpeye.report.class_calibration import class_calibration_findings
from sharpeye.report.comparison import Comparison
from sharpeye.report.comparison_wording import comparison_findings
from sharpeye.report.evaluation import Evaluation, ScoredPrediction
from sharpeye.report.page_images import THUMB, page_image
from sharpeye.report.templating import render

# Limits of the page's lists; the files beside it are complete.
_MAX_LISTED_MISTAKES = 400
_MAX_LISTED_FILES = 200
_MAX_HISTORY_ROWS = 60
_MAX_BOX_IMAGES = 30
_MAX_CHANGED_IMAGES = 40

Section = dict[str, Any]  # the values for one section of the template, by name


@dataclass(frozen=True)
class ReportData:
    """Everything that the page shows.

    `heat_maps` belong to some mistakes, by path: float32[h,w], 0..1, over the upright image.
    """

    title: str  # such as the name of the data folder
    summary: Sequence[tuple[str, str]]  # (name, value) pairs for the head: model, seed, versions
    test: Evaluation
    metrics: Mapping[str, Any]  # the content of `metrics.json`
    counts: Mapping[str, Mapping[str, int]]  # images by class and split
    history: Sequence[Mapping[str, Any]] = ()  # for `charts.solver_fits`, `curves.learning_curves`
    rejected: Sequence[Rejected] = ()
    ignored: Mapping[str, int] = field(default_factory=dict)  # files that are no images, by suffix
    notes: Sequence[str] = ()  # sentences to show first
    commands: Sequence[tuple[str, str]] = ()  # (purpose, command) pairs: what to do next
    max_pictures: int = 60  # limit of mistakes, and of loose boxes, with image
    heat_maps: Mapping[str, Floats] = field(default_factory=dict)
    changes: Comparison | None = None
    exposures: Sequence[tuple[str, bool, Mapping[str, Any]]] = ()  # from `exposure_rows`
    training_only: str = ""  # the headline if the model was trained on all images of `test`


def render_report(data: ReportData) -> str:
    """The report as one self-contained HTML page.

    Images are read again from their files; missing ones get a placeholder. MissingExtra if Jinja2
    is not installed.
    """
    test, metrics = data.test, data.test.metrics
    shown = [_card(data, p, heated=True) for p in test.mistakes[: max(0, data.max_pictures)]]
    times, total = page_tables.time_rows(data.metrics.get("seconds"))
    calibration = (metrics["ece"], metrics["count"], test.reliability)
    every = max(1, math.ceil(len(data.history) / _MAX_HISTORY_ROWS))
    return render(
        "report.html.j2",
        data=data,
        metrics=metrics,
        thumb=THUMB,
        headline=f"Accuracy {data.training_only}."
        if data.training_only
        else wording.headline(metrics),
        baseline=_baseline(test),
        scores=[] if data.training_only else _scores(data.metrics, metrics),
        changes=_changes_section(data),
        mistakes=len(test.mistakes),
        cards=shown,
        heat_colours=[f"rgb{colour}" for colour in COLOURS],
        boxes=_boxes_section(data),
        matrix=page_tables.matrix_table(test.matrix, test.class_names),
        confusions=page_tables.top_confusions(test.matrix, test.class_names),
        lookup=_lookup(test, test.mistakes[len(shown) :]),
        classes=page_tables.class_rows(metrics["per_class"], test.matrix),
        bins=test.reliability,
        calibration=[
            *wording.calibration_findings(*calibration),
            *class_calibration_findings(test.targets, test.probs, test.class_names),
        ],
        reliability_chart=charts.reliability_chart(test.reliability) if test.reliability else "",
        unknown=_unknown_section(test),
        trainings=_training_sections(data.history),
        history=data.history[::every],
        every=every,
        columns=list(dict.fromkeys(name for row in data.history for name in row)),
        times=times,
        total=total,
        counts=page_tables.count_table(data.counts),
        rejected=data.rejected[:_MAX_LISTED_FILES],
    )


def _card(data: ReportData, prediction: ScoredPrediction, *, heated: bool = False) -> Section:
    """A prediction with its image, and the key of its cell in the confusion matrix."""
    heat = data.heat_maps.get(prediction.path) if heated else None
    image = page_image(prediction.sample, prediction.box, heat)
    return {"prediction": prediction, "image": image, "key": _cell_key(data.test, prediction)}


def _cell_key(test: Evaluation, prediction: ScoredPrediction) -> str:
    return f"{test.class_index[prediction.label]}-{test.class_index[prediction.predicted]}"


def _baseline(test: Evaluation) -> tuple[str, float] | None:
    """The most common true class and its share 0..1, a lower limit for any model's accuracy."""
    if not len(test.samples):
        return None
    label, count = Counter(sample.label for sample in test.samples).most_common(1)[0]
    return label, count / len(test.samples)


def _scores(all_metrics: Mapping[str, Any], metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(name, value) of the scores besides the accuracy, without unknown ones."""
    recalls = [row["recall"] for row in metrics["per_class"].values() if row["support"]]
    validation = all_metrics.get("validation") or {}
    scores = [
        ("Average over classes", percent(sum(recalls) / len(recalls) if recalls else None)),
        ("Log loss", wording.decimal(metrics["log_loss"])),
        ("Calibration error", wording.decimal(metrics["ece"])),
        ("Class and IoU ≥ 0.75", percent(metrics.get("accuracy_at_iou75"))),
        ("On validation", percent(validation.get("accuracy"))),
        ("Mean IoU on validation", wording.decimal(validation.get("mean_iou"))),
    ]
    return [(name, value) for name, value in scores if value != MISSING]


def _changes_section(data: ReportData) -> Section | None:
    """The comparison with the run that was extended."""
    changes = data.changes
    if changes is None:
        return None
    shown = changes.changed_pairs[: max(0, min(data.max_pictures, _MAX_CHANGED_IMAGES))]
    return {
        "findings": comparison_findings(changes),
        "worse": changes.worse,
        "classes": changes.classes,
        "count": len(changes.changed_pairs),
        "pairs": [(pair, _card(data, pair.prediction)) for pair in shown],
    }


def _boxes_section(data: ReportData) -> Section | None:
    """The boxes of a localizer, if some image has a true box."""
    test = data.test
    if test.ious is None or not len(test.ious):
        return None
    worst = test.worst_boxes[: max(0, min(data.max_pictures, _MAX_BOX_IMAGES))]
    return {
        "headline": wording.box_headline(test.metrics),
        "findings": wording.box_findings(test.metrics, len(test.loose_boxes), len(test.samples)),
        "chart": charts.iou_chart(test.ious),
        "cards": [_card(data, prediction) for prediction in worst],
    }


def _unknown_section(test: Evaluation) -> Section | None:
    """Metrics of the output `unknown`; `rows` are the left-out classes, the worst first."""
    if test.ood is None:
        return None
    return {
        "findings": wording.ood_findings(test.ood.metrics, len(test.class_names)),
        "rows": sorted(test.ood.auroc.items(), key=lambda item: item[1]),
        "mean": test.ood.auroc_mean,
    }


def _training_sections(history: Sequence[Mapping[str, Any]]) -> list[Section]:
    """A section for solver fits and one for gradient descent, if the history has them."""
    sections = []
    fits = charts.solver_fits([row for row in history if not curves.axis_of(row)])
    if fits:
        best = min(fits, key=lambda fit: fit.log_loss)
        finding = wording.best_fit(best.log_loss, best.stage, best.l2)
        chart = charts.solver_chart(fits)
        sections.append({"chart": chart, "finding": finding, "hints": [wording.FIT_HINT]})
    learning_curves = curves.learning_curves(history)
    if learning_curves:
        sections.append(_curves_section(learning_curves))
    return sections


def _curves_section(learning_curves: curves.Curves) -> Section:
    best = learning_curves.best
    longest = max(learning_curves.lines, key=lambda line: len(line.y))
    finding, smoothed = wording.NO_VALIDATION, ""
    if best:
        scores = (best.log_loss, best.accuracy, best.position)
        finding = wording.best_point(*scores, mean_iou=best.mean_iou)
        by_accuracy = math.isnan(best.log_loss)
        smoothed = percent(best.smoothed, 1) if by_accuracy else wording.nats(best.smoothed)
    per_point = math.ceil(len(longest.y) / curves.MAX_POINTS)
    window = 2 * longest.half_window + 1
    hints = wording.curve_hints(learning_curves.axis, window, per_point, smoothed=smoothed)
    for stage, _ in learning_curves.stage_starts:
        hints.append(f"The upright line is where {stage} begins.")
    return {"chart": curves.curve_chart(learning_curves), "finding": finding, "hints": hints}


def _lookup(test: Evaluation, others: Sequence[ScoredPrediction]) -> dict[str, Any]:
    """The data for the page's script to open a cell: names, row sums, mistakes without image."""
    more: dict[str, list[tuple[str, str]]] = {}
    for mistake in others[:_MAX_LISTED_MISTAKES]:
        entry = (mistake.path, percent(mistake.score))
        more.setdefault(_cell_key(test, mistake), []).append(entry)
    return {
        "labels": list(test.class_names),
        "support": test.matrix.sum(axis=1).tolist(),
        "hits": test.matrix.diagonal().tolist(),
        "more": more,
    }
