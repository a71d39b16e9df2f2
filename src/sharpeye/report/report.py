"""The page that a person reads: `report.html`, one self-contained file."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from sharpeye.core.types import Rejected
from sharpeye.data.sample_image import read_image
from sharpeye.errors import ImageReadError
from sharpeye.images.heat_overlay import COLOURS, colorize
from sharpeye.report import charts, curves, tables, wording
from sharpeye.report.box_views import Rectangle, overlap_chart, rectangles
from sharpeye.report.comparison import ClassChange, Comparison
from sharpeye.report.comparison_words import finding
from sharpeye.report.evaluation import Evaluation, ScoredPrediction
from sharpeye.report.page_images import SHOWN_AT, THUMB, data_address, is_tiny, shrink
from sharpeye.report.templating import environment

if TYPE_CHECKING:
    pass

# What the page lists of things without an upper bound; the files beside it hold all of them.
_MAX_LISTED_MISTAKES = 400
_MAX_LISTED_FILES = 200
_MAX_HISTORY = 60
_MAX_BOX_IMAGES = 30
_MAX_FLIPS = 40


@dataclass(frozen=True)
class ReportData:
    """Everything that the page shows.

    Attributes:
        title: of the page, such as the name of the data folder.
        facts: (name, value) pairs for the head: data, model, when, how long, seed, versions.
        test: the answers that the page is about.
        metrics: what `metrics.json` holds.
        counts: images by class and part: {"rose": {"train": 30, "validation": 5, "test": 6}}.
        history: rows of `history.csv`, of a solver (stage, l2, log_loss, accuracy, seconds) or
            of training by gradient (as `curves.learning_curves` takes them).
        rejected: files left out.
        ignored: files that are no images, by suffix.
        notes: sentences that the reader should see first (imbalance, conflicts, leaks).
        commands: (what it does, command) pairs: what to do next.
        max_pictures: mistakes shown with their image, and at most so many of the worst boxes.
        heats: of some mistakes, by their paths: float32[h,w], 0..1, over the upright image: where
            the model saw its answer.
        changes: what became of the run that was added to; None if there is none.
    """

    title: str
    facts: Sequence[tuple[str, str]]
    test: Evaluation
    metrics: Mapping[str, Any]
    counts: Mapping[str, Mapping[str, int]]
    history: Sequence[Mapping[str, Any]] = ()
    rejected: Sequence[Rejected] = ()
    ignored: Mapping[str, int] = field(default_factory=dict)
    notes: Sequence[str] = ()
    commands: Sequence[tuple[str, str]] = ()
    max_pictures: int = 60
    heats: Mapping[str, npt.NDArray[np.float32]] = field(default_factory=dict)
    changes: Comparison | None = None


@dataclass(frozen=True, slots=True)
class Course:
    """How one way of training went: its chart as SVG, the finding, and how to read the chart."""

    chart: str
    finding: str
    hints: Sequence[str]


@dataclass(frozen=True, slots=True)
class PageImage:
    """An answer and the image's thumbnail.

    Attributes:
        answer: what the model said.
        key: the confusion matrix cell that it is in.
        image: a `data:` address, or None if the file cannot be read any more.
        tiny: so small that the page shows its pixels as squares.
        boxes: over the thumbnail's place, `THUMB`.
        heated: the thumbnail with a heat map over it, as `image`; None if there is no map.
    """

    answer: ScoredPrediction
    key: str
    image: str | None
    tiny: bool
    boxes: Sequence[Rectangle] = ()
    heated: str | None = None


@dataclass(frozen=True, slots=True)
class Boxes:
    """What the page says of a localizer's boxes.

    Attributes:
        images: the worst, worst first.
        chart: of the overlaps, as SVG.
        finding: sentences, the finding first.
        verdict: for the page's head.
    """

    images: Sequence[PageImage]
    chart: str
    finding: Sequence[str]
    verdict: str


@dataclass(frozen=True, slots=True)
class Flip:
    """An image with another answer than before.

    Attributes:
        image: with the answer of now.
        kind: such as "right to wrong".
        before: the class that the earlier model named.
        score: its probability then, 0..1.
    """

    image: PageImage
    kind: str
    before: str
    score: float


@dataclass(frozen=True, slots=True)
class Changed:
    """What the page says of the run that was added to.

    Attributes:
        finding: sentences, the finding first, then whether it may be chance.
        worse: whether it got worse, beyond chance.
        classes: one row each, those that lost most first.
        flips: how many images have another answer.
        cards: the first of them.
    """

    finding: Sequence[str]
    worse: bool
    classes: Sequence[ClassChange]
    flips: int
    cards: Sequence[Flip]


@dataclass(frozen=True, slots=True)
class Strange:
    """What the page says of images of something else.

    Attributes:
        finding: sentences, the finding first.
        rows: class and AUROC 0..1 when it was left out, the worst first.
        mean: of these; None without any.
    """

    finding: Sequence[str]
    rows: Sequence[tuple[str, float]]
    mean: float | None


def render_report(data: ReportData) -> str:
    """The report as one HTML page that loads nothing from anywhere.

    Images are read again from their files; one that is gone gets a placeholder.

    Raises:
        MissingExtra: Jinja2 is not installed.
    """
    metrics = data.test.metrics
    mistakes = data.test.mistakes
    index = {label: i for i, label in enumerate(data.test.class_names)}
    shown = [
        _image(answer, index, data.heats.get(answer.path))
        for answer in mistakes[: max(0, data.max_pictures)]
    ]
    times, total = tables.time_rows(data.metrics.get("seconds"))
    bins = data.test.reliability
    every = max(1, math.ceil(len(data.history) / _MAX_HISTORY))
    return (
        environment()
        .get_template("report.html.j2")
        .render(
            data=data,
            verdict=wording.verdict(metrics),
            boxes=_boxes(data, index),
            changed=_changed(data, index),
            thumb=THUMB,
            heat_colours=[f"rgb{colour}" for colour in COLOURS],
            metrics=metrics,
            baseline=_baseline(data.test),
            scores=_scores(data.metrics, metrics),
            mistakes=len(mistakes),
            images=shown,
            matrix=tables.matrix_table(data.test.matrix, data.test.class_names),
            confusions=tables.top_confusions(data.test.matrix, data.test.class_names),
            lookup=_lookup(data.test, mistakes[len(shown) :], index),
            classes=tables.class_rows(metrics["per_class"], data.test.matrix),
            bins=bins,
            calibration=wording.calibration(metrics["ece"], metrics["count"], bins),
            strangers=_strangers(data.test),
            reliability_chart=charts.reliability_chart(bins) if bins else "",
            courses=_courses(data.history),
            history=data.history[::every],
            every=every,
            columns=list(dict.fromkeys(name for row in data.history for name in row)),
            times=times,
            total=total,
            counts=tables.count_table(data.counts),
            rejected=data.rejected[:_MAX_LISTED_FILES],
        )
    )


def _strangers(test: Evaluation) -> Strange | None:
    """None where the model does not tell the unknown."""
    if test.ood is None:
        return None
    metrics, tried = test.ood.metrics, test.ood.auroc
    rows = sorted(tried.items(), key=lambda item: item[1])
    return Strange(wording.strangers(metrics, len(test.class_names)), rows, metrics["auroc_mean"])


def _changed(data: ReportData, index: Mapping[str, int]) -> Changed | None:
    """None where nothing was added to a run."""
    changes = data.changes
    if changes is None:
        return None
    shown = changes.flips[: max(0, min(data.max_pictures, _MAX_FLIPS))]
    cards = [
        Flip(
            _image(pair.answer, index),
            pair.kind or "",
            pair.earlier.predicted,
            pair.earlier.score,
        )
        for pair in shown
    ]
    return Changed(finding(changes), changes.worse, changes.classes, len(changes.flips), cards)


def _boxes(data: ReportData, index: Mapping[str, int]) -> Boxes | None:
    """None for a classifier, and where no image has a true box."""
    test = data.test
    if test.overlaps is None or not len(test.overlaps):
        return None
    worst = test.worst_boxes[: max(0, min(data.max_pictures, _MAX_BOX_IMAGES))]
    return Boxes(
        images=[_image(answer, index) for answer in worst],
        chart=overlap_chart(test.overlaps),
        finding=wording.box_finding(test.metrics, len(test.loose_boxes), len(test.samples)),
        verdict=wording.box_verdict(test.metrics),
    )


def _courses(history: Sequence[Mapping[str, Any]]) -> list[Course]:
    """One of the solvers' fits, one of training by gradient: those that the history knows."""
    found = []
    fits = charts.fits([row for row in history if not curves.axis_of(row)])
    if fits:
        best = min(fits, key=lambda fit: fit.log_loss)
        finding = wording.best_fit(best.log_loss, best.stage, best.l2)
        found.append(Course(charts.history_chart(fits), finding, [wording.FIT_HINT]))
    learned = curves.learning_curves(history)
    if learned:
        found.append(_learned(learned))
    return found


def _learned(learned: curves.Curves) -> Course:
    best, longest = learned.best, max(learned.lines, key=lambda line: len(line.y))
    finding, level = wording.NO_VALIDATION, ""
    if best:
        finding = wording.best_point(best.log_loss, best.accuracy, best.place, best.mean_iou)
        by_accuracy = math.isnan(best.log_loss)
        level = wording.percent(best.level, 1) if by_accuracy else wording.nats(best.level)
    per_point = math.ceil(len(longest.y) / curves.MAX_POINTS)
    hints = wording.curve_hints(learned.axis, 2 * longest.reach + 1, per_point, level)
    hints += [f"The upright line is where {stage} begins." for stage, _ in learned.turns]
    return Course(curves.curve_chart(learned), finding, hints)


def _baseline(test: Evaluation) -> tuple[str, float] | None:
    """The most common true class and its share 0..1: what no model should fall below."""
    if not len(test.samples):
        return None
    label, count = Counter(sample.label for sample in test.samples).most_common(1)[0]
    return label, count / len(test.samples)


def _scores(all_metrics: Mapping[str, Any], metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(name, value) of the scores beside the accuracy; those that are unknown are left out."""
    recalls = [row["recall"] for row in metrics["per_class"].values() if row["support"]]
    validation = all_metrics.get("validation") or {}
    found = [
        ("Average over classes", wording.percent(sum(recalls) / len(recalls) if recalls else None)),
        ("Log loss", wording.decimal(metrics["log_loss"])),
        ("Calibration error", wording.decimal(metrics["ece"])),
        ("Class and IoU ≥ 0.75", wording.percent(metrics.get("accuracy_at_iou75"))),
        ("On validation", wording.percent(validation.get("accuracy"))),
        ("Mean IoU on validation", wording.decimal(validation.get("mean_iou"))),
    ]
    return [(name, value) for name, value in found if value != wording.MISSING]


def _image(
    answer: ScoredPrediction, index: Mapping[str, int], heat: npt.NDArray[np.float32] | None = None
) -> PageImage:
    key = f"{index[answer.label]}-{index[answer.predicted]}"
    try:
        image = read_image(answer.sample, SHOWN_AT)
    except ImageReadError:
        return PageImage(answer, key, None, False)
    tiny, boxes = is_tiny(image), rectangles(answer, image.size, THUMB)
    shrink(image)
    heated = None if heat is None else data_address(_heated(image, heat), tiny=False)
    return PageImage(answer, key, data_address(image, tiny=tiny), tiny, boxes, heated)


def _heated(image: Image.Image, heat: npt.NDArray[np.float32]) -> Image.Image:
    """A thumbnail with a heat map, which is smooth on a tiny one too."""
    if is_tiny(image):
        times = THUMB.width // max(image.size)
        size = (image.width * times, image.height * times)
        image = image.resize(size, Image.Resampling.NEAREST)
    over = Image.fromarray(heat).resize(image.size, Image.Resampling.BILINEAR)
    return colorize(image, np.asarray(over))


def _lookup(
    test: Evaluation, rest: Sequence[ScoredPrediction], index: Mapping[str, int]
) -> dict[str, Any]:
    """What the page's script needs to open a cell: names, row sums, mistakes without image."""
    more: dict[str, list[tuple[str, str]]] = {}
    for answer in rest[:_MAX_LISTED_MISTAKES]:
        key = f"{index[answer.label]}-{index[answer.predicted]}"
        more.setdefault(key, []).append((answer.path, wording.percent(answer.score)))
    return {
        "labels": list(test.class_names),
        "support": test.matrix.sum(axis=1).tolist(),
        "hits": test.matrix.diagonal().tolist(),
        "more": more,
    }
