"""A localizer's scores, and its boxes on the report: which, where on the page, in what words."""

import base64
import dataclasses
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_report import EVIL, Page

from sharpeye.core.types import Box, InputSpec, Sample
from sharpeye.report import wording
from sharpeye.report.charts import iou_chart
from sharpeye.report.curves import curve_chart, learning_curves
from sharpeye.report.evaluation import Evaluation
from sharpeye.report.page_images import rectangles
from sharpeye.report.run_page import ReportData, render_report

CLASS_NAMES = ("cat", "dog")
TRUE: Box = (0.25, 0.25, 0.75, 0.75)
# Widths of the predicted boxes as shares of the true one: the IoU is the share.
SHARES = (1.0, 0.9, 0.6, 0.4, 0.2, 0.0)


def predicted_box(share: float) -> Box:
    return (0.25, 0.25, 0.25 + share / 2, 0.75)


@pytest.fixture
def scored(tmp_path: Path) -> Evaluation:
    """Six images, dark but for the true box; the class of the second and the fifth is wrong."""
    samples = []
    for i, label in enumerate(("cat", "cat", "dog", "dog", "dog", "cat")):
        image = Image.new("RGB", (400, 200), (40, 40, 40))
        image.paste((250, 250, 250), (100, 50, 300, 150))
        image.save(tmp_path / f"{i}.png")
        samples.append(Sample(f"{i}.png", tmp_path / f"{i}.png", label, box=TRUE))
    probs = np.array([[0.9, 0.1], [0.3, 0.7], [0.2, 0.8], [0.1, 0.9], [0.6, 0.4], [0.8, 0.2]])
    boxes = np.array([predicted_box(share) for share in SHARES])
    return Evaluation(CLASS_NAMES, tuple(samples), probs, boxes)


def report(test: Evaluation, **more: object) -> str:
    data = ReportData("pets", [], test, {"test": test.metrics}, {})
    return render_report(dataclasses.replace(data, **more))  # type: ignore[arg-type]


# --- scores --------------------------------------------------------------------------------------


def test_ious_are_those_of_true_and_predicted_boxes(scored: Evaluation) -> None:
    assert scored.ious == pytest.approx(SHARES)
    assert scored.metrics["mean_iou"] == pytest.approx(np.mean(SHARES))
    assert scored.metrics["accuracy_at_iou50"] == pytest.approx(2 / 6)
    assert [prediction.iou for prediction in scored.predictions] == pytest.approx(SHARES)
    assert scored.predictions[2].box == pytest.approx(predicted_box(0.6))


def test_a_mistake_is_a_wrong_class_and_a_loose_box_is_none(scored: Evaluation) -> None:
    assert [prediction.path for prediction in scored.mistakes] == ["1.png", "4.png"]
    assert [prediction.path for prediction in scored.worst_boxes] == [
        f"{i}.png" for i in (5, 4, 3, 2, 1, 0)
    ]
    assert [prediction.path for prediction in scored.loose_boxes] == ["5.png", "3.png"]


def test_without_all_true_boxes_there_are_no_scores_of_boxes(scored: Evaluation) -> None:
    bare = dataclasses.replace(scored.samples[0], box=None)
    test = dataclasses.replace(scored, samples=(bare, *scored.samples[1:]))
    assert test.ious is None
    assert "mean_iou" not in test.metrics
    assert test.worst_boxes == test.loose_boxes == ()
    assert test.predictions[0].box == pytest.approx(predicted_box(1.0))
    assert 'id="boxes"' not in report(test)


def test_a_classifier_is_as_it_was(scored: Evaluation) -> None:
    test = dataclasses.replace(scored, boxes=None)
    assert (test.ious, test.predictions[0].box, test.predictions[0].iou) == (None, None, None)
    page = Page(report(test))
    assert "IoU" not in page.text
    assert not page.all("svg", "frames")
    assert not page.all("p", "legend")


# --- the page ------------------------------------------------------------------------------------


def test_the_head_says_how_good_class_and_box_are(scored: Evaluation) -> None:
    text = Page(report(scored)).text
    low, high = scored.metrics["mean_iou_ci95"]
    assert "Right class and box (IoU ≥ 0.5) on 33 %" in text
    assert f"Mean IoU 0.52 (95 % interval {low:.2f}–{high:.2f})" in text
    assert "Class and IoU ≥ 0.7517 %" in text  # a name and its value
    assert "2 images of 6 have the right class but a loose box." in text


def test_both_boxes_lie_where_they_are_on_the_thumbnail(scored: Evaluation) -> None:
    """Checked on the page's own pixels: the true box is the bright part of the thumbnail."""
    page = Page(report(scored))
    # 2 mistakes, then the worst boxes of all 6; the last of these has the same box twice.
    assert len(page.all("svg", "frames")) == 8
    kind, _, code = page.all("img")[-1]["src"].partition(",")
    thumb = np.asarray(Image.open(io.BytesIO(base64.b64decode(code))).convert("L"))
    assert thumb.shape == (100, 200)
    rows, columns = np.nonzero(thumb > 150)
    padding = (200 - 100) / 2
    bright = (columns.min(), rows.min() + padding, columns.max() + 1, rows.max() + 1 + padding)
    for kind in ("true", "predicted"):
        rect = [r for r in page.all("rect", kind) if "x" in r and float(r["width"]) > 90][-1]
        x, y, width, height = (float(rect[k]) for k in ("x", "y", "width", "height"))
        assert (x, y, x + width, y + height) == pytest.approx(bright, abs=1)
    predicted_rects = [r for r in page.all("rect", "predicted") if "seam" not in r["class"]]
    widths = [float(r["width"]) for r in predicted_rects if r["height"] == "50.0"]
    assert widths == [90.0, 20.0, 1.0, 20.0, 40.0, 60.0, 90.0, 100.0]


def test_each_gallery_has_a_legend_and_the_worst_come_first(scored: Evaluation) -> None:
    page = Page(report(scored))
    assert len(page.all("p", "legend")) == 2
    start = page.text.index("Boxes, worst first")
    ious = re.findall(r"IoU (\d\.\d\d)", page.text[start : page.text.index("Confusion matrix")])
    assert [v for v in ious if v in ("0.00", "0.20", "0.40", "0.60", "0.90", "1.00")] == [
        "0.00",
        "0.20",
        "0.40",
        "0.60",
        "0.90",
        "1.00",
    ]


def test_images_of_boxes_are_bounded(scored: Evaluation) -> None:
    assert len(Page(report(scored, max_pictures=1)).all("img")) == 2
    assert len(Page(report(scored, max_pictures=0)).all("img")) == 0
    many = Evaluation(
        CLASS_NAMES,
        scored.samples * 20,
        np.tile(scored.probs, (20, 1)),
        np.tile(scored.boxes, (20, 1)),  # type: ignore[arg-type]
    )
    assert len(Page(report(many, max_pictures=500)).all("img")) == 40 + 30


def test_classes_get_their_columns(scored: Evaluation) -> None:
    page = Page(report(scored))
    start = page.text.index("Class by class")
    rows = page.text[start : page.text.index("Can its scores")]
    assert "F1 Mean IoU Found Images" in rows
    assert "67 % 0.67 0.63 33 % 3" in rows  # cat: precision, F1, IoU, found, images
    assert "67 % 0.67 0.40 33 % 3" in rows


def test_the_page_stays_one_file_and_safe(scored: Evaluation) -> None:
    renamed = [dataclasses.replace(sample, path=EVIL) for sample in scored.samples]
    html = report(dataclasses.replace(scored, samples=tuple(renamed)))
    assert "<img src=x" not in html
    assert "http://" not in html and "https://" not in html
    page = Page(html)
    ids = [a["id"] for _, a in page.elements if "id" in a]
    assert len(ids) == len(set(ids))
    assert {a["href"][1:] for a in page.all("a")} <= set(ids)


def test_an_image_that_is_gone_leaves_its_numbers(scored: Evaluation) -> None:
    scored.samples[5].file.unlink()
    page = Page(report(scored))
    assert page.text.count("This image cannot be read any more") == 1
    assert len(page.all("svg", "frames")) == 7
    assert "5.png" in page.text


def test_no_test_images_still_make_a_page() -> None:
    test = Evaluation(CLASS_NAMES, (), np.empty((0, 2)), np.empty((0, 4)))
    text = Page(report(test)).text
    assert "the quality of this model is unknown" in text
    assert "nan" not in text.lower().split()


# --- the parts -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "corner", "scale"),
    [
        ((400, 200), (0, 50), (200, 100)),
        ((100, 200), (50, 0), (100, 200)),
        ((9, 9), (0, 0), (200, 200)),
    ],
)
def test_rectangles_follow_the_padding(
    size: tuple[int, int], corner: tuple[int, int], scale: tuple[int, int]
) -> None:
    box = (0.1, 0.2, 0.6, 0.9)
    true, guess = rectangles(box, (0.0, 0.0, 1.0, 1.0), size, square=InputSpec(200, 200))
    assert (true.kind, guess.kind) == ("true", "predicted")
    assert (true.x, true.y) == pytest.approx(
        (corner[0] + box[0] * scale[0], corner[1] + box[1] * scale[1]), abs=0.1
    )
    assert (true.width, true.height) == pytest.approx((scale[0] / 2, scale[1] * 0.7), abs=0.1)
    assert (guess.width, guess.height) == scale


def test_a_box_without_area_is_still_seen_and_one_that_is_not_there_is_not() -> None:
    square = InputSpec(200, 200)
    (guess,) = rectangles(None, (0.5, 0.5, 0.5, 0.5), (10, 10), square=square)
    assert (guess.kind, guess.width, guess.height) == ("predicted", 1.0, 1.0)
    assert [box.kind for box in rectangles(TRUE, None, (10, 10), square=square)] == ["true"]
    assert rectangles(None, None, (10, 10), square=square) == ()


def test_the_chart_counts_every_iou_once() -> None:
    ious = np.array([0.0, 0.05, 0.49, 0.5, 0.95, 1.0, 1.0])
    svg = iou_chart(ious)
    titles = re.findall(r"<title>(\d+)\u00a0images? with an IoU of ([\d.]+) to", svg)
    counts = {low: int(count) for count, low in titles}
    assert counts == {
        **{f"{b / 10:.1f}": 0 for b in range(10)},
        "0.0": 2,
        "0.4": 1,
        "0.5": 1,
        "0.9": 3,
    }
    assert svg.count('class="bar loose"') == 5
    assert svg.count('class="bar"') == 5
    heights = [float(h) for h in re.findall(r'class="bar[^>]*height="([\d.]+)"', svg)]
    assert heights[9] == pytest.approx(1.5 * heights[0], abs=0.2)


@pytest.mark.parametrize("count", [1, 3, 12_000])
def test_the_chart_stands_any_count(count: int) -> None:
    svg = iou_chart(np.full(count, 0.7))
    assert "nan" not in svg
    assert all(float(v) >= 0 for v in re.findall(r'(?:height|y|x)="(-?[\d.]+)"', svg))
    assert f"{count:,}" in svg


def epochs(count: int) -> list[dict[str, object]]:
    return [
        {
            "epoch": i + 1,
            "log_loss": 1 - i / count,
            "accuracy": i / count,
            "mean_iou": 0.9 * i / count,
            "validation_log_loss": 0.4 + abs(i - 3) / count,
            "validation_accuracy": 0.9,
            "validation_mean_iou": 0.8 - abs(i - 3) / 100,
        }
        for i in range(count)
    ]


def test_learning_curves_of_a_localizer_have_a_panel_more() -> None:
    curves = learning_curves(epochs(8))
    assert curves is not None and curves.best is not None
    assert list(curves.panels) == ["log loss", "accuracy", "mean IoU"]
    assert [line.split for line in curves.panels["mean IoU"]] == ["training", "validation"]
    assert curves.best.mean_iou == 0.8
    svg = curve_chart(curves)
    assert svg.count('class="best"') == 1 + 3  # one in the legend
    assert "Log loss, accuracy and mean IoU of training and validation by epoch" in svg
    plain = [{k: v for k, v in row.items() if "iou" not in k} for row in epochs(8)]
    before = learning_curves(plain)
    assert before is not None and list(before.panels) == ["log loss", "accuracy"]
    assert "Log loss and accuracy of training and validation by epoch" in curve_chart(before)


def test_the_page_says_the_mean_iou_at_the_best_point(scored: Evaluation) -> None:
    text = Page(report(scored, history=epochs(8))).text
    best = "Lowest validation log loss 0.400 at epoch 4; accuracy 90.0 %, mean IoU 0.80 there."
    assert best in text


def test_the_best_point_in_words() -> None:
    nan = float("nan")
    texts = [
        wording.best_point(0.4, 0.9, "step 3").replace("\u00a0", " "),
        wording.best_point(0.4, nan, "step 3", mean_iou=0.7),
        wording.best_point(nan, 0.9, "step 3", mean_iou=0.7).replace("\u00a0", " "),
        wording.best_point(0.4, nan, "step 3"),
    ]
    assert texts == [
        "Lowest validation log loss 0.400 at step 3; accuracy 90.0 % there.",
        "Lowest validation log loss 0.400 at step 3; mean IoU 0.70 there.",
        "Highest validation accuracy 90.0 % at step 3; mean IoU 0.70 there.",
        "Lowest validation log loss 0.400 at step 3.",
    ]


def test_the_line_of_the_command() -> None:
    metrics = {"mean_iou": 0.812, "mean_iou_ci95": [0.79, 0.834], "accuracy_at_iou50": 0.8812}
    line = "mean IoU 0.81 (0.79 to 0.83), right class and IoU >= 0.5: 88.1%"
    assert wording.box_line(metrics) == line
    assert wording.box_line({**metrics, "accuracy_at_iou50": 1.0}).endswith("100.0%")
