"""The report page: its content, that names in it are escaped, and that it loads nothing."""

import base64
import dataclasses
import io
import math
import re
import sys
import time
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sharpeye.core.formatting import duration, percent
from sharpeye.core.types import Rejected, Sample
from sharpeye.errors import MissingExtra
from sharpeye.report import charts, page_tables, wording
from sharpeye.report.evaluation import Evaluation
from sharpeye.report.run_page import ReportData, render_report

COLOURS = {"cyan": (0, 255, 255), "magenta": (255, 0, 255), "yellow": (255, 255, 0)}
LABELS = tuple(COLOURS)
EVIL = "<img src=x onerror=alert(1)>.jpg"


class Page(HTMLParser):
    """The page's elements as (tag, attributes), and its text without scripts and styles."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text, self._tag = "", ""
        self.feed(html)
        self.text = " ".join(self.text.replace("\u00a0", " ").split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        self._tag = tag

    def handle_endtag(self, tag: str) -> None:
        self._tag = ""

    def handle_data(self, data: str) -> None:
        if self._tag not in ("script", "style"):
            self.text += data

    def all(self, tag: str, css_class: str = "") -> list[dict[str, str]]:
        return [
            attributes
            for name, attributes in self.elements
            if name == tag and (not css_class or css_class in attributes.get("class", "").split())
        ]


def photo(folder: Path, name: str, label: str, size: tuple[int, int] = (300, 150)) -> Sample:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, COLOURS.get(label, (9, 9, 9))).save(file, "JPEG")
    return Sample(name, file, label)


def evaluation(samples: list[Sample], predictions: list[tuple[str, float]]) -> Evaluation:
    """One prediction (class, its probability) a sample; the other classes share the rest."""
    probs = np.empty((len(samples), len(LABELS)))
    for row, (predicted, score) in zip(probs, predictions, strict=True):
        row[:] = (1 - score) / (len(LABELS) - 1)
        row[LABELS.index(predicted)] = score
    return Evaluation(LABELS, tuple(samples), probs)


@pytest.fixture
def data(tmp_path: Path) -> ReportData:
    samples = [photo(tmp_path, f"{label}/{i}.jpg", label) for label in LABELS for i in range(4)]
    predictions = [(sample.label, 0.9) for sample in samples]
    predictions[1] = ("magenta", 0.6)
    predictions[5] = ("yellow", 0.95)
    predictions[9] = ("cyan", 0.7)
    test = evaluation(samples, predictions)
    return ReportData(
        title="paints",
        summary=[("Model", "efficientnet_lite0"), ("Seed", "0")],
        test=test,
        metrics={
            "test": test.metrics,
            "validation": {"accuracy": 0.875},
            "seconds": {"decode": 1.5, "fit_head": 0.25, "total": 1.75},
        },
        counts={label: {"train": 10, "validation": 3, "test": 4} for label in LABELS},
        history=[
            {"stage": "ridge", "l2": "0.1", "log_loss": "0.5", "accuracy": "0.8"},
            {"stage": "ridge", "l2": "1", "log_loss": "0.4", "accuracy": "0.9"},
            {"stage": "logistic", "l2": 0.01, "log_loss": 0.3, "accuracy": 0.95},
            {"stage": "note", "l2": "", "log_loss": math.nan},
        ],
        rejected=[Rejected("cyan/bad.jpg", "the file is empty (0 bytes)")],
        ignored={".txt": 3},
        notes=["Two classes share an image."],
        commands=[("Serve it", "sharpeye serve runs/paints")],
    )


def test_says_the_verdict_the_notes_and_the_facts(data: ReportData) -> None:
    text = Page(render_report(data)).text
    assert "Right on 9 of 12 test images: 75 % (95 % interval 47–91 %)" in text
    for words in ("paints", "efficientnet_lite0", "Two classes share an image.", "88 %"):
        assert words in text


def test_shows_every_mistake_with_its_image_surest_first(data: ReportData) -> None:
    page = Page(render_report(data))
    images = page.all("img")
    assert [image["alt"] for image in images] == ["magenta/1.jpg", "yellow/1.jpg", "cyan/1.jpg"]
    assert [card["data-cell"] for card in page.all("figure", "card")] == ["1-2", "2-0", "0-1"]
    kind, _, code = images[0]["src"].partition(",")
    thumb = Image.open(io.BytesIO(base64.b64decode(code)))
    assert (kind, thumb.size) == ("data:image/jpeg;base64", (200, 100))
    red, green, blue = thumb.convert("RGB").getpixel((100, 50))
    assert red > 240
    assert green < 15
    assert blue > 240


def test_thumbnails_carry_no_metadata_and_stand_upright(tmp_path: Path) -> None:
    sample = photo(tmp_path, "a.jpg", "cyan")
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "SECRET CAMERA"
    with Image.open(sample.file) as image:
        image.save(sample.file, exif=exif, comment="SECRET PLACE")
    test = evaluation([sample], [("yellow", 0.9)])
    page = Page(render_report(ReportData("t", [], test, {}, {})))
    code = base64.b64decode(page.all("img")[0]["src"].partition(",")[2])
    assert b"SECRET" not in code
    assert Image.open(io.BytesIO(code)).size == (100, 200)


def test_tiny_images_stay_exact(tmp_path: Path) -> None:
    test = evaluation([photo(tmp_path, "a.jpg", "cyan", (32, 32))], [("yellow", 0.9)])
    image = Page(render_report(ReportData("t", [], test, {}, {}))).all("img")[0]
    assert image["src"].startswith("data:image/png;base64,")
    assert image["class"] == "tiny"


def test_names_from_the_disk_are_escaped_everywhere(tmp_path: Path) -> None:
    label = '"><script>alert(1)</script>'
    labels = (label, "plain")
    shown = [photo(tmp_path, f"{i}.jpg", label) for i in range(3)]
    samples = (*shown, Sample(f"a/{EVIL}", shown[0].file, label))
    test = Evaluation(labels, samples, np.tile([0.2, 0.8], (4, 1)))
    html = render_report(
        ReportData(
            title=EVIL,
            summary=[(EVIL, EVIL)],
            test=test,
            metrics={"seconds": {EVIL: 1.0}},
            counts={label: {EVIL: 4}},
            history=[{"stage": EVIL, "l2": 1.0, "log_loss": 1.0, EVIL: EVIL}],
            rejected=[Rejected(EVIL, EVIL)],
            ignored={EVIL: 1},
            notes=[EVIL],
            commands=[(EVIL, EVIL)],
            max_pictures=2,
        )
    )
    page = Page(html)
    assert "<img src=x" not in html
    assert "<script>alert" not in html
    assert not any("onerror" in attributes for _, attributes in page.elements)
    assert len(page.all("script")) == 2
    assert EVIL in page.text


def test_loads_nothing_from_anywhere(data: ReportData) -> None:
    html = render_report(data)
    page = Page(html)
    loads = [
        attributes[name]
        for tag, attributes in page.elements
        for name in ("src", "href", "srcset", "poster", "data")
        if name in attributes
    ]
    assert loads
    assert all(address.startswith(("data:", "#")) for address in loads)
    assert "http://" not in html
    assert "https://" not in html
    assert "@import" not in html
    assert not re.search(r"url\((?!data:)", html)
    policy = next(a for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy["content"]


def test_an_image_that_is_gone_gets_a_placeholder(data: ReportData) -> None:
    data.test.mistakes[0].sample.file.unlink()
    data.test.mistakes[1].sample.file.write_bytes(b"<html>")
    page = Page(render_report(data))
    assert len(page.all("img")) == 1
    assert len(page.all("figure", "card")) == 3
    assert page.text.count("This image cannot be read any more") == 2


def test_images_beyond_the_limit_are_counted_and_named_to_the_script(data: ReportData) -> None:
    html = render_report(dataclasses.replace(data, max_pictures=1))
    page = Page(html)
    assert len(page.all("img")) == 1
    assert "1 image shown here; 2 more are in misclassified.csv" in page.text
    assert '"2-0": [["yellow/1.jpg", "70\\u00a0%"]]' in html


def test_a_page_without_mistakes_says_so(tmp_path: Path) -> None:
    test = evaluation([photo(tmp_path, "a.jpg", "cyan")], [("cyan", 0.9)])
    text = Page(render_report(ReportData("t", [], test, {}, {}))).text
    assert "Nothing: every test image was classified correctly." in text


def test_no_test_images_at_all_still_make_a_page() -> None:
    test = Evaluation(LABELS, (), np.empty((0, 3)))
    metrics = {"validation": None, "test": {"ece": None}, "seconds": {"fit": math.nan, "x": None}}
    text = Page(render_report(ReportData("t", [], test, metrics, {}))).text
    assert "the quality of this model is unknown" in text
    assert "nan" not in text.lower().split()


def test_matrix_headings_cells_and_scopes(data: ReportData) -> None:
    page = Page(render_report(data))
    table = page.elements[
        next(
            i for i, (_, a) in enumerate(page.elements) if "matrix" in a.get("class", "").split()
        ) :
    ]
    scopes = [a["scope"] for tag, a in table if tag == "th"][:6]
    assert scopes == ["col"] * 3 + ["row"] * 3
    assert len(page.all("td", "hit")) == 3
    assert len(page.all("td", "miss")) == 3
    keys = [a["data-cell"] for a in page.all("button") if "data-cell" in a]
    assert keys == ["0-0", "0-1", "1-1", "1-2", "2-0", "2-2"]


def test_left_out_files_fold_from_eleven_on(data: ReportData) -> None:
    few = Page(render_report(data))
    assert "cyan/bad.jpg" in few.text
    assert "3 × .txt" in few.text
    assert any("open" in a for a in few.all("details"))
    many = [Rejected(f"{i}.jpg", "empty") for i in range(250)]
    page = Page(render_report(dataclasses.replace(data, rejected=many)))
    assert "250 files could not be used" in page.text
    assert "50 more are in quarantine.csv" in page.text
    assert not any("open" in a for a in page.all("details"))


def test_training_shows_the_best_fit_and_the_times(data: ReportData) -> None:
    page = Page(render_report(data))
    assert "Lowest log loss 0.300, from the logistic fit at L2 0.01." in page.text
    assert "Where the time went: 1.8 s" in page.text
    assert "fit head" in page.text
    bare = Page(render_report(dataclasses.replace(data, history=(), metrics={}, commands=())))
    assert "Where the time went" not in bare.text
    assert not {"#training", "#next"} & {a.get("href") for a in bare.all("a")}


def descent(count: int) -> list[dict[str, object]]:
    """A history of training by gradient, best on validation at its middle."""
    return [
        {
            "stage": "sgd",
            "step": 10 * i,
            "log_loss": 1 - i / count,
            "accuracy": i / count,
            "validation_log_loss": 0.412 + abs(i - count // 2) / count,
            "validation_accuracy": 0.912,
        }
        for i in range(count)
    ]


def test_training_by_gradient_shows_its_curves(data: ReportData) -> None:
    html = render_report(dataclasses.replace(data, history=descent(462)))
    page = Page(html)
    finding = "Lowest validation log loss 0.412 at step 2,310; accuracy 91.2 % there."
    assert finding in page.text
    assert "moving average over 23 rows of history" in page.text
    assert "means of up to 2 in a row" in page.text
    assert "L2" not in page.text
    assert len(page.all("g", "strong")) == 2 + 4  # two of them in the legend
    assert "462 rows of history, one in 8 here" in page.text
    assert "validation_log_loss" in page.text
    assert html.count('<td class="num">sgd</td>') == 58
    few = Page(render_report(dataclasses.replace(data, history=descent(6)))).text
    assert "moving average" not in few
    assert "6 rows of history" in few


def test_training_without_validation_has_no_best_point(data: ReportData) -> None:
    rows = [{k: v for k, v in row.items() if "validation" not in k} for row in descent(40)]
    page = Page(render_report(dataclasses.replace(data, history=rows)))
    assert wording.NO_VALIDATION in page.text
    assert not page.all("circle", "best")


def test_both_kinds_of_training_show_side_by_side(data: ReportData) -> None:
    tuned = [{**row, "stage": EVIL, "l2": 0.1} for row in descent(30)]
    history = [*data.history, *descent(30), *tuned]
    html = render_report(dataclasses.replace(data, history=history))
    page = Page(html)
    assert "Lowest log loss 0.300, from the logistic fit at L2 0.01." in page.text
    assert f"The upright line is where {EVIL} begins." in page.text
    assert len(page.all("svg", "chart")) == 3
    assert "<img src=x" not in html
    charted = charts.solver_chart(charts.solver_fits(data.history))
    assert charted in html  # what a gradient's rows say of L2 is no fit


def test_every_link_in_the_page_has_its_target(data: ReportData) -> None:
    page = Page(render_report(data))
    ids = [a["id"] for _, a in page.elements if "id" in a]
    assert len(ids) == len(set(ids))
    targets = {a["href"][1:] for a in page.all("a")}
    labelled = {a["aria-labelledby"] for _, a in page.elements if "aria-labelledby" in a}
    assert targets | labelled <= set(ids)


def test_many_classes_and_answers_are_fast_and_bounded() -> None:
    random = np.random.default_rng(0)
    labels = tuple(f"species {i}" for i in range(120))
    targets = random.integers(0, 120, 10_000)
    probs = random.dirichlet(np.full(120, 0.1), 10_000)
    samples = tuple(Sample(f"{i}.jpg", Path(f"{i}.jpg"), labels[t]) for i, t in enumerate(targets))
    test = Evaluation(labels, samples, probs)
    data = ReportData("many", [], test, {"test": test.metrics}, {}, max_pictures=0)
    start = time.perf_counter()
    html = render_report(data)
    assert time.perf_counter() - start < 3  # about 0.15 s on two quiet cores
    assert len(html) < 1_500_000
    assert all(f"species {i}<" in html for i in range(120))


def test_without_jinja2_the_error_names_the_extra(
    data: ReportData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(MissingExtra, match=r"the report needs Jinja2.*sharpeye\[train\]"):
        render_report(data)


def test_matrix_of_a_thousand_classes_keeps_the_most_confused() -> None:
    matrix = np.diag(np.full(1000, 5))
    matrix[900, 950] = 3
    table = page_tables.matrix_table(matrix, [str(i) for i in range(1000)])
    assert len(table.columns) < table.classes == 1000
    assert {"900", "950"} <= set(table.columns)
    assert table.columns == sorted(table.columns, key=int)
    assert all(len(cells) == len(table.columns) for _, cells in table.rows)


def test_class_rows_put_the_worst_first_and_the_unknown_last() -> None:
    matrix = np.array([[4, 0, 0], [2, 1, 0], [0, 0, 0]])
    scores = {
        "good": {
            "precision": 0.67,
            "recall": 1.0,
            "f1": 0.8,
            "support": 4,
            "recall_ci95": [0.5, 1],
        },
        "bad": {
            "precision": 1.0,
            "recall": 0.33,
            "f1": 0.5,
            "support": 3,
            "recall_ci95": [0.1, 0.8],
        },
        "none": {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0, "recall_ci95": [0, 1]},
    }
    rows = page_tables.class_rows(scores, matrix)
    assert [row.label for row in rows] == ["bad", "good", "none"]
    assert (rows[2].recall, rows[2].precision, rows[2].f1) == (None, None, None)


def test_count_table_adds_up_and_orders_the_splits() -> None:
    table = page_tables.count_table(
        {"a": {"test": 1, "train": 2}, "b": {"validation": 3, "extra": 4}}
    )
    assert table.splits == ["train", "validation", "test", "extra"]
    assert table.rows == [("a", [2, 0, 1, 0], 3), ("b", [0, 3, 0, 4], 7)]
    assert table.totals == [2, 3, 1, 4, 10]


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0.914, "91\u00a0%"),
        (1.0, "100\u00a0%"),
        (285 / 286, "99.7\u00a0%"),
        (0.9996, "99.96\u00a0%"),
        (0.99996, ">99.99\u00a0%"),
        (0.001, "<1\u00a0%"),
        (0.0, "0\u00a0%"),
        (math.nan, "–"),
        (None, "–"),
        ("0.5", "50\u00a0%"),
    ],
)
def test_percent_never_claims_all_or_none_that_is_not(share: object, text: str) -> None:
    assert percent(share) == text


def test_percent_with_digits_keeps_to_them_unless_it_would_lie() -> None:
    texts = [percent(s, 1) for s in (0.912, 1.0, 0.0, 0.9996, 0.99996, 0.0001)]
    assert [text.replace("\u00a0", " ") for text in texts] == [
        "91.2 %",
        "100 %",
        "0 %",
        "99.96 %",
        ">99.99 %",
        "<0.1 %",
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [(12310, "12,310"), ("120", "120"), (0.012345, "0.01235"), (1e8, "1e+08"), ("sgd", "sgd")],
)
def test_cells_show_counts_in_full_and_measures_briefly(value: object, text: str) -> None:
    assert wording.compact(value) == text


def test_durations_read_as_people_say_them() -> None:
    texts = [duration(s).replace("\u00a0", " ") for s in (0.042, 9.5, 61, 200, 3900, "x")]
    assert texts == ["0.042 s", "9.5 s", "61 s", "3 min 20 s", "1 h 5 min", "–"]


def test_calibration_says_which_way_it_errs() -> None:
    overconfident = [{"low": 0.9, "high": 1.0, "count": 500, "confidence": 0.95, "accuracy": 0.6}]
    sentence = "It is more sure of itself than it should be."
    assert wording.calibration_findings(0.35, 500, overconfident)[1] == sentence
    underconfident = [{"low": 0.5, "high": 0.6, "count": 50, "confidence": 0.55, "accuracy": 0.6}]
    first, second, third = wording.calibration_findings(0.05, 50, underconfident)
    assert first.startswith("You can read its scores as chances")
    assert second == "It is right more often than it claims to be."
    assert "few" in third
    assert len(wording.calibration_findings(math.nan, 0, [])) == 1


@pytest.mark.parametrize(
    "points",
    [
        [(1.0, 0.5)],
        [(1e-6, 0.001), (1e6, 90.0)],
        [(0.1, 0.5), (0.1, 0.5)],
        [(1e-300, 0.2), (1.0, 0.3)],
    ],
)
def test_solver_chart_stands_any_range(points: list[tuple[float, float]]) -> None:
    fits = charts.solver_fits([{"stage": "ridge", "l2": x, "log_loss": y} for x, y in points])
    svg = charts.solver_chart(fits)
    numbers = [float(n) for n in re.findall(r'(?:cx|cy)="(-?[\d.]+)"', svg)]
    assert numbers
    assert all(0 <= n <= 440 for n in numbers)
    assert "nan" not in svg


def test_solver_chart_draws_a_line_a_stage_and_one_ring() -> None:
    rows = [("ridge", 0.1, 0.5), ("ridge", 10, 0.4), ("logistic", 1, 0.25)]
    fits = charts.solver_fits([{"stage": s, "l2": x, "log_loss": y} for s, x, y in rows])
    svg = charts.solver_chart(fits)
    assert re.findall(r'<polyline points="([^"]*)"', svg) == [
        "66.0,40.0 420.0,116.7",
        "243.0,231.7",
    ]
    assert re.findall(r'class="best" cx="([\d.]+)" cy="([\d.]+)"', svg) == [("243.0", "231.7")]
    assert "L2 strength" in svg
    assert "10⁻¹" in svg


def test_reliability_chart_marks_each_bin() -> None:
    bins = [
        {"low": 0.5, "high": 0.6, "count": 3, "confidence": 0.55, "accuracy": 0.0},
        {"low": 0.9, "high": 1.0, "count": 1234, "confidence": 1.0, "accuracy": 1.0},
    ]
    svg = charts.reliability_chart(bins)
    assert svg.count('class="dot"') == 2
    assert "1,234" in svg
    assert "3\u00a0images: 55\u00a0% sure, 0\u00a0% right" in svg
