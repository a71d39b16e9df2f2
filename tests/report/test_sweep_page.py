"""The page of a sweep: its charts, its text, that names are escaped and that it loads nothing."""

import math
import re
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import pytest

from sharpeye.report import sweep_charts as charts
from sharpeye.report.sweep_charts import TRIAL_STATES, Knob, RankScore, TrialRow
from sharpeye.report.sweep_page import SweepData, headline, render_sweep

EVIL = "<img src=x onerror=alert(1)>"
LAYERS = Knob("net.conv_layers", "conv_layers", (1, 2, 3))
RATE = Knob("train.learning_rate", "learning_rate", low=1e-4, high=1e-2, log=True)
UNITS = Knob("net.layer_size", "layer_size", low=16, high=128)
LOSS, ACCURACY = RankScore(False), RankScore(True)


def trial(name: str, loss: float, **other: Any) -> TrialRow:
    params = {"net.conv_layers": 1, "train.learning_rate": 1e-3, "net.layer_size": 64}
    made = TrialRow(
        name=name,
        params=params,
        state="complete",
        log_loss=loss,
        accuracy=1 / (1 + loss),
        best_epoch=2,
        epochs=3,
        seconds=12.0,
        reason="",
        curve={1: loss + 0.2, 2: loss, 3: loss + 0.1},
    )
    return replace(made, **other)


ROWS = [
    trial("a", 0.3),
    trial("b", 0.4, params={"net.conv_layers": 2, "train.learning_rate": 1e-4}),
    trial("c", 0.6, params={"net.conv_layers": 3, "train.learning_rate": 1e-2}),
    trial("d", 0.5, state="pruned", curve={1: 0.7, 2: 0.5}, epochs=2),
    trial("e", math.nan, state="failed", curve={}, best_epoch=0, reason="it diverged"),
]


def drawing(svg: str) -> ElementTree.Element:
    """The chart, which must be well-formed."""
    return ElementTree.fromstring(svg)


def dots(svg: str) -> list[tuple[str, float, float]]:
    """(title, x, y) of each trial's dot."""
    places = []
    for group in drawing(svg).iter("g"):
        title, circle = group.find("title"), group.find("g/circle")
        if title is not None and circle is not None:
            places.append(
                (title.text or "", float(circle.get("cx", 0)), float(circle.get("cy", 0)))
            )
    return places


def test_every_trial_with_a_value_is_a_dot_in_the_order_of_ranks() -> None:
    svg = charts.rank_chart(ROWS, LOSS)
    shown = dots(svg)
    assert [title for title, _, _ in shown] == [
        "a: 0.300, complete",
        "b: 0.400, complete",
        "c: 0.600, complete",
    ]
    assert [x for _, x, _ in shown] == sorted(x for _, x, _ in shown)
    assert [y for _, _, y in shown] == sorted((y for _, _, y in shown), reverse=True)
    assert "d: 0.500, pruned" in svg and "e:" not in svg
    (ring,) = [c for c in drawing(svg).iter("circle") if c.get("class") == "best"][1:]
    assert (float(ring.get("cx", 0)), float(ring.get("cy", 0))) == shown[0][1:]


def test_a_trial_that_went_astray_is_drawn_at_the_edge_and_flattens_nothing() -> None:
    wild = [*ROWS[:3], trial("wild", 1e6)]
    heights = {title[0]: y for title, _, y in dots(charts.rank_chart(wild, LOSS))}
    assert heights["w"] == 40.0
    assert heights["a"] - heights["b"] > 15
    share = [trial(n, 0, accuracy=a) for n, a in (("a", 0.9), ("b", 0.85), ("c", 0.8), ("w", 0.1))]
    heights = {title[0]: y for title, _, y in dots(charts.rank_chart(share, ACCURACY))}
    assert heights["w"] == 300.0 and heights["a"] < heights["b"] < heights["c"]


@pytest.mark.parametrize(
    ("knob", "places"),
    [(LAYERS, ["1", "2", "3"]), (RATE, ["0.0001", "0.001", "0.01"]), (UNITS, ["50", "100"])],
)
def test_trials_are_drawn_by_the_value_of_each_knob(knob: Knob, places: list[str]) -> None:
    svg = charts.knob_chart(ROWS, knob, LOSS)
    words = [text.text for text in drawing(svg).iter("text")]
    assert [word for word in words if word in places] == places
    assert words[-1] == knob.name
    where = {title[0]: x for title, x, _ in dots(svg)}
    if knob is LAYERS:
        assert where["a"] < where["b"] < where["c"]
        (line,) = [
            p for p in drawing(svg).iter("polyline") if len(p.get("points", "").split()) == 3
        ]
        assert line is not None
    if knob is RATE:
        assert where["b"] < where["a"] < where["c"]
        assert where["a"] - where["b"] == pytest.approx(where["c"] - where["a"], abs=0.2)
    if knob is UNITS:
        assert set(where) == {"a"}  # the others do not have it


def test_learning_curves_of_trials_that_ended_early_end_early() -> None:
    svg = charts.curves_chart(ROWS, LOSS)
    lines = {}
    for group in drawing(svg).iter("g"):
        title, line = group.find("title"), group.find("g/polyline")
        if title is not None and line is not None:
            points = [p.split(",") for p in line.get("points", "").split()]
            lines[(title.text or "")[0]] = [float(x) for x, _ in points]
    assert {name: len(xs) for name, xs in lines.items()} == {"a": 3, "b": 3, "c": 3, "d": 2}
    assert lines["d"] == lines["a"][:2]


def test_one_trial_alone_and_trials_that_are_all_the_same_can_be_drawn() -> None:
    for rows in ([ROWS[0]], [ROWS[0]] * 4):
        for score in (LOSS, ACCURACY):
            for svg in (
                charts.rank_chart(rows, score),
                charts.curves_chart(rows, score),
                charts.knob_chart(rows, Knob("net.conv_layers", "conv_layers", (1,)), score),
            ):
                drawing(svg)
                assert "nan" not in svg and "inf" not in svg


def page(rows: list[TrialRow], **other: Any) -> str:
    data = SweepData("pets", [("Model", "cnn")], rows, [LAYERS, RATE], **other)
    return render_sweep(data).replace("\u00a0", " ")


def test_the_page_says_what_came_out() -> None:
    html = page(ROWS, commands=[("Train the best one", "sharpeye train --config winner.toml")])
    assert (
        "a is the best of 5 trials: validation log loss 0.300 at epoch 2, accuracy 76.9 %" in html
    )
    assert html.count('<svg class="chart"') == 4
    body = html[html.index("<tbody>") : html.index("</tbody>")]
    cells = [
        re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row, re.S) for row in body.split("</tr>")[:-1]
    ]
    plain = [[re.sub(r"<[^>]+>", "", cell).strip() for cell in row] for row in cells]
    assert plain[0] == ["1", "a", "1", "0.001", "0.300", "76.9 %", "2", "3", "12 s", "complete"]
    assert plain[3][-1] == "pruned"
    assert plain[4][0] == "–" and plain[4][-1] == "failed it diverged"
    assert "sharpeye train --config winner.toml" in html
    assert "no trial has seen them" in html
    assert "no trial has seen them" not in page(ROWS, tested=True)


def test_a_sweep_that_has_just_begun_has_a_page() -> None:
    waiting = trial("a", math.nan, state="waiting", curve={}, best_epoch=0, params={}, epochs=0)
    running = replace(waiting, name="b", state="running")
    html = page([running, waiting])
    assert "No trial has a result yet." in html
    assert '<svg class="chart"' not in html
    assert headline([], 1) == "No trial has a result yet."
    assert set(TRIAL_STATES) >= {"running", "waiting"}


def test_the_page_is_one_file_and_names_are_only_text() -> None:
    evil = trial(EVIL, 0.3, params={"net.color": EVIL}, reason=EVIL, state="stopped")
    data = SweepData(
        EVIL,
        [("Data", EVIL)],
        [evil],
        [Knob("net.color", EVIL, (EVIL,))],
        notes=[EVIL],
        commands=[(EVIL, EVIL)],
    )
    html = render_sweep(data)
    assert "<img" not in html
    assert "default-src 'none'" in html
    assert not re.search(r"(?:src|href)\s*=\s*[\"']?(?:https?:)?//", html)


def test_a_large_sweep_stays_a_small_page() -> None:
    many = [trial(f"t{i}", 0.3 + i / 1000) for i in range(1500)]
    html = page(many)
    assert html.count("<tr>") <= 502
    assert "1,000 more are in" in html
    assert len(html) < 2_000_000
