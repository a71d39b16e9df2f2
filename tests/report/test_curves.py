"""The learning curves: what is read from the history, and how it is drawn."""

import math
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from sharpeye.report import svg as drawing
from sharpeye.report import wording
from sharpeye.report.curves import MAX_POINTS, Curves, Line, curve_chart, learning_curves, thin

SVG = "{http://www.w3.org/2000/svg}"
NAN = math.nan


def rows(count: int, axis: str = "step", each: int = 10, **more: Any) -> list[dict[str, Any]]:
    """A history whose validation is best, 0.4 nats and 88 %, two thirds of the way."""
    random = np.random.default_rng(0)
    best = 2 * count // 3
    return [
        {
            "stage": "sgd",
            axis: i * each,
            "log_loss": 1.1 - i / count + random.uniform(0, 0.1),
            "accuracy": 0.3 + 0.6 * i / count,
            "validation_log_loss": 0.4 + abs(i - best) / count,
            "validation_accuracy": 0.88 - abs(i - best) / count / 2,
            "seconds": i / 10,
            **more,
        }
        for i in range(count)
    ]


def drawn(history: list[dict[str, Any]]) -> tuple[Curves, ElementTree.Element]:
    """The curves and their chart, read as strict XML."""
    curves = learning_curves(history)
    if curves is None:
        raise ValueError("nothing to draw")
    svg = curve_chart(curves).replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"', 1)
    return curves, ElementTree.fromstring(svg)


def lines(svg: ElementTree.Element, style: str) -> list[list[tuple[float, float]]]:
    """The points of each polyline that is in a group of this class, without the legend's."""
    groups = [g for g in svg.iter(f"{SVG}g") if style in g.get("class", "").split()]
    strokes = [p.get("points", "").split() for g in groups for p in g.iter(f"{SVG}polyline")]
    points = [[tuple(map(float, pair.split(","))) for pair in stroke] for stroke in strokes]
    return [[(x, y) for x, y in stroke] for stroke in points if stroke[0][1] != 14]


def rings(svg: ElementTree.Element) -> list[tuple[float, float]]:
    """Centres of the rings in the plots."""
    curves = [c for c in svg.iter(f"{SVG}circle") if c.get("class") == "best"]
    return [(float(c.get("cx", "")), float(c.get("cy", ""))) for c in curves][1:]


@pytest.mark.parametrize("axis", ["step", "epoch"])
def test_best_point_is_ringed_in_both_panels(axis: str) -> None:
    curves, svg = drawn(rows(300, axis))
    best = curves.best
    assert best is not None
    assert curves.axis == axis
    assert (best.position, best.log_loss, best.accuracy) == (f"{axis} 2,000", 0.4, 0.88)
    (loss_x, loss_y), (accuracy_x, accuracy_y) = rings(svg)
    assert loss_x == accuracy_x == 66 + 12 + round(2000 / 3000 * (440 - 20 - 66 - 12), 1)
    loss, accuracy = lines(svg, "dashed")[1], lines(svg, "dashed")[-1]
    near = [min(line, key=lambda p: abs(p[0] - loss_x))[1] for line in (loss, accuracy)]
    assert [loss_y, accuracy_y] == pytest.approx(near, abs=3)
    assert axis in [text.text for text in svg.iter(f"{SVG}text")]


@pytest.mark.parametrize("count", [1, 2, 24, 25, 400, 401, 1234, 5000])
def test_every_point_is_inside_and_their_number_is_bounded(count: int) -> None:
    _, svg = drawn(rows(count))
    strokes = lines(svg, "pale") + lines(svg, "strong")
    assert len(strokes) == (4 if count <= 24 else 8)
    assert all(len(stroke) == min(count, MAX_POINTS) for stroke in strokes)
    _, _, width, height = map(float, svg.get("viewBox", "").split())
    assert all(66 <= x <= width - 20 and 36 <= y <= height - 50 for s in strokes for x, y in s)
    assert len("".join(svg.itertext())) < 300


def test_thin_takes_means_of_equal_bins() -> None:
    assert thin(np.arange(3.0)).tolist() == [0, 1, 2]
    assert thin(np.arange(2.0 * MAX_POINTS)).tolist() == [2 * i + 0.5 for i in range(MAX_POINTS)]
    uneven = thin(np.ones(3 * MAX_POINTS + 7))
    assert len(uneven) == MAX_POINTS
    assert np.allclose(uneven, 1)


def test_moving_average_calms_noise_and_keeps_the_ends() -> None:
    random = np.random.default_rng(1)
    x = np.arange(400.0)
    line = Line("training", x, 0.5 + random.normal(0, 0.1, 400))
    assert line.half_window == 10
    assert np.std(line.smoothed[10:]) < 0.04 < 0.09 < np.std(line.y)
    assert line.smoothed[0] == pytest.approx(line.y[0])
    assert line.smoothed[-1] == pytest.approx(line.y[-11:].mean())
    assert Line("training", x, x).smoothed[:390] == pytest.approx(x[:390])
    assert Line("training", x[:5], x[:5]).smoothed.tolist() == [0, 1, 2, 3, 4]


def test_one_row_and_constants_stand_in_the_plot() -> None:
    one = {"step": 0, "log_loss": 1.1, "accuracy": 0.3, "validation_log_loss": 1.2}
    curves, svg = drawn([one])
    assert curves.best is not None
    assert curves.best.position == "step 0"
    assert math.isnan(curves.best.accuracy)
    assert len(rings(svg)) == 1  # not in the accuracy panel: that row has none on validation
    assert [len(stroke) for stroke in lines(svg, "strong")] == [1, 1, 1]
    same = [dict(r, log_loss=0.5, accuracy=1.0, validation_log_loss=0.5) for r in rows(50)]
    curves, svg = drawn([dict(r, validation_accuracy=1.0) for r in same])
    assert curves.best is not None
    assert curves.best.position == "step 0"  # the earliest of equals
    words = [text.text for text in svg.iter(f"{SVG}text")]
    assert "100\u00a0%" in words
    assert not any(w and w.startswith("100.") for w in words)
    assert len({y for stroke in lines(svg, "strong") for _, y in stroke}) == 2


def test_missing_and_unusable_values_are_left_out() -> None:
    history = rows(30)
    history[20]["validation_log_loss"] = NAN
    history[21]["validation_log_loss"] = None
    history[19]["validation_log_loss"] = ""
    history[3]["log_loss"] = math.inf
    history[4]["accuracy"] = "0.5"  # as read back from a CSV file
    curves, svg = drawn([*history, {"stage": "sgd", "step": NAN, "log_loss": 0.0}])
    sizes = [len(line.y) for line in curves.lines]
    assert sizes == [29, 27, 30, 30]
    assert curves.best is not None
    assert curves.best.position in ("step 180", "step 220")
    assert "nan" not in ElementTree.tostring(svg, "unicode")
    assert "inf" not in ElementTree.tostring(svg, "unicode")


@pytest.mark.parametrize(
    "history",
    [
        [],
        [{"stage": "ridge", "l2": 0.1, "log_loss": 0.5, "accuracy": 0.8, "steps": 12}],
        [{"step": 10, "log_loss": NAN, "accuracy": None}],
        [{"step": "", "log_loss": 0.5}],
    ],
)
def test_no_curves_without_steps_or_values(history: list[dict[str, Any]]) -> None:
    assert learning_curves(history) is None


def test_one_measure_or_one_part_is_enough() -> None:
    shares = [{k: r[k] for k in ("step", "accuracy", "validation_accuracy")} for r in rows(40)]
    curves, svg = drawn(shares)
    assert list(curves.panels) == ["accuracy"]
    assert curves.best is not None
    assert wording.best_point(curves.best.log_loss, curves.best.accuracy, curves.best.position) == (
        "Highest validation accuracy 88.0\u00a0% at step 260."
    )
    assert len(rings(svg)) == 1
    curves, svg = drawn([{"epoch": 1, "log_loss": 0.5}, {"epoch": 2, "log_loss": 0.25}])
    assert curves.best is None
    assert rings(svg) == []


def test_a_wild_batch_does_not_flatten_the_rest() -> None:
    history = rows(400)
    history[200]["log_loss"] = 12.0  # the moving average there is about 1.2
    _, svg = drawn(history)
    ticks = [float(t.text) for t in svg.iter(f"{SVG}text") if (t.text or "").count(".") == 1]
    assert max(ticks) <= 2
    frames = [s for s in svg.iter(f"{SVG}svg") if s is not svg]
    assert [f.get("height") for f in frames] == ["165", "165"]  # these cut it off


def test_a_stage_that_counts_anew_goes_on_behind_the_one_before() -> None:
    name = '<script>&"'
    curves, svg = drawn([*rows(30, stage="head"), *rows(60, stage=name)])
    assert curves.stage_starts == [(name, 290)]
    assert curves.best is not None
    assert curves.best.x in (200, 290 + 400)
    assert curves.best.position in ("step 200 of head", f"step 400 of {name}")
    losses = [line for line in curves.panels["log loss"] if line.split == "validation"]
    assert [line.x[-1] for line in losses] == [290, 290 + 590]
    turns = [line for line in svg.iter(f"{SVG}line") if line.get("class") == "turn"]
    assert [turn[0].text for turn in turns] == [f"{name} begins"] * 2
    going_on = [
        *rows(30, stage="head"),
        *(dict(r, step=r["step"] + 300) for r in rows(9, stage="b")),
    ]
    curves, _ = drawn(going_on)
    assert max(line.x[-1] for line in curves.lines) == 380


@pytest.mark.parametrize(
    ("low", "high"), [(0.0, 0.04), (0.96, 1.0), (0.3, 1.0), (0.0, 1.0), (0.91, 0.9999), (0.5, 0.62)]
)
def test_ticks_of_shares_never_pass_one(low: float, high: float) -> None:
    ticks = drawing.round_ticks(low, high, 0.04)
    assert ticks[0] <= low
    assert high <= ticks[-1] <= 1
    assert 3 <= len(ticks) <= 7


def test_numbers_of_the_axes_are_short() -> None:
    assert [drawing.count_text(2500)(v) for v in (0, 500, 2500)] == ["0", "500", "2,500"]
    assert [drawing.count_text(20_000)(v) for v in (0, 5000, 20_000)] == ["0", "5k", "20k"]
    assert [drawing.share_text(v) for v in (0.0, 0.975, 1.0)] == [
        "0\u00a0%",
        "97.5\u00a0%",
        "100\u00a0%",
    ]


@pytest.mark.parametrize(
    ("value", "text"), [(0.4121, "0.412"), (0.0, "0.000"), (0.00012, "0.00012"), (2.0, "2.000")]
)
def test_nats_keep_what_small_losses_say(value: float, text: str) -> None:
    assert wording.nats(value) == text
