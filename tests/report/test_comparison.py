"""The comparison of two models on the same images: its counts, its test, and the page."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sharpeye.core.metrics import mcnemar
from sharpeye.core.types import Sample
from sharpeye.report.comparison import Comparison, EarlierPrediction, Extension
from sharpeye.report.comparison_wording import (
    comparison_findings,
    p_value_text,
    summary_lines,
    worse_warning,
)
from sharpeye.report.evaluation import Evaluation
from sharpeye.report.run_page import ReportData, render_report

EXTENSION = Extension("runs/a", "new", 50, 1, 0, 9, 2, ("zinc",), 21)
CLASS_NAMES = ("ash", "elm", "zinc")


def comparison(lost: int, gained: int, *, same: int = 10, folder: Path = Path()) -> Comparison:
    """`same` ash images that stay right, one elm that is wrong in another way, two new zinc."""
    images = [("ash", "ash", "ash")] * same  # true, before, after
    images += [("ash", "ash", "zinc")] * lost + [("elm", "ash", "elm")] * gained
    images += [("elm", "ash", "zinc"), ("zinc", "", "zinc"), ("zinc", "", "ash")]
    samples, probs, earlier = [], [], {}
    for number, (label, before, after) in enumerate(images):
        path = f"{label}/{number}.png"
        samples.append(Sample(path, folder / path, label))
        probs.append([0.6 + number / 100 if name == after else 0.1 for name in CLASS_NAMES])
        if before:
            earlier[path] = EarlierPrediction(before, 0.7)
    rows = np.array(probs) / np.sum(probs, axis=1, keepdims=True)
    return Comparison(EXTENSION, earlier, Evaluation(CLASS_NAMES, tuple(samples), rows), (9, 49))


def test_predictions_are_counted_by_how_they_changed() -> None:
    compared = comparison(3, 2)
    assert [pair.change for pair in compared.changed_pairs] == [
        *["right to wrong"] * 3,
        *["wrong to right"] * 2,
        "wrong to wrong",
    ]
    first = [pair.prediction.score for pair in compared.changed_pairs][:3]
    assert first == sorted(first, reverse=True)
    scores = compared.scores
    assert (scores.before.right, scores.after.right, scores.before.count) == (13, 12, 16)
    assert [row.label for row in compared.classes] == ["ash", "elm", "zinc"]
    ash, elm, zinc = compared.classes
    assert (ash.before.right, ash.after.right, ash.lost, ash.gained) == (13, 10, 3, 0)
    assert (elm.before.right, elm.after.right, elm.before.count) == (0, 2, 3)
    assert (zinc.new, zinc.before.count, zinc.added.right, zinc.added.count) == (True, 0, 1, 2)
    assert compared.p_value == pytest.approx(1.0)
    entry = compared.metrics
    assert entry["earlier_test"]["gone"] == 5
    assert entry["per_class"]["zinc"]["before"]["accuracy"] is None
    assert entry["features"] == {"computed": 9, "from_cache": 49}
    assert len(compared.rows) == 6


def test_worse_and_better_are_said_only_beyond_chance() -> None:
    chance, worse, better = comparison(5, 0), comparison(6, 0), comparison(0, 6)
    assert not chance.worse  # p = 0.0625
    assert worse.worse and not worse.better
    assert better.better and not better.worse
    assert "may be chance" in comparison_findings(chance)[1]
    assert comparison_findings(worse)[1].startswith("It got worse, beyond chance: 6 turned")
    assert "worse than runs/a" in worse_warning(worse)
    assert "None of them turned" in comparison_findings(comparison(0, 0))[1]
    texts = [p_value_text(p) for p in (1.0, 0.0312, 0.0004)]
    assert texts == ["p = 1.00", "p = 0.031", "p < 0.001"]


def test_the_lines_of_the_command_line() -> None:
    lines = summary_lines(comparison(6, 0).metrics)
    assert lines == {
        "added": "9 images, 1 new class (zinc) to the 49 of runs/a; "
        "features: 9 computed, 49 cached",
        "before": "its 17 test images: 94.1% right, now 58.8% "
        "(6 right to wrong, 0 wrong to right; worse beyond chance, p = 0.031)",
        "new": "right on zinc 1 of 2",
    }
    nothing = Comparison(EXTENSION, {}, comparison(1, 0).test)
    assert "is left to compare with" in summary_lines(nothing.metrics)["before"]
    assert "trained anew" in summary_lines(nothing.metrics)["added"]
    assert "is left to compare with" in comparison_findings(nothing)[0]


def test_boxes_are_compared_where_all_have_both() -> None:
    plain = comparison(1, 0, same=2)
    samples = [replace(sample, box=(0.0, 0.0, 0.5, 1.0)) for sample in plain.test.samples]
    boxes = np.tile([0.0, 0.0, 1.0, 1.0], (len(samples), 1))
    test = Evaluation(CLASS_NAMES, tuple(samples), plain.test.probs, boxes)
    earlier = {path: replace(each, iou=0.8) for path, each in plain.earlier.items()}
    boxed = Comparison(EXTENSION, earlier, test)
    assert boxed.mean_ious == pytest.approx((0.8, 0.5))
    assert boxed.metrics["earlier_test"]["mean_iou_after"] == pytest.approx(0.5)
    assert "mean IoU of the boxes was 0.80, and is 0.50 now" in " ".join(comparison_findings(boxed))
    assert plain.mean_ious is None


def test_the_page_shows_it_safely_and_only_where_something_was_added(tmp_path: Path) -> None:
    changes = comparison(6, 1, folder=tmp_path)
    data = ReportData("t", [], changes.test, {}, {}, changes=changes)
    page = render_report(data)
    assert page.count('id="changes"') == 1
    assert "What changed" in page and "changes.csv" in page
    gallery = page[page.index('id="changes-gallery"') : page.index('id="mistakes"')]
    assert gallery.count("<figure") == 8
    assert gallery.index("right to wrong") < gallery.index("wrong to right")
    assert gallery.index("wrong to right") < gallery.index("wrong to wrong")
    page = render_report(replace(data, max_pictures=2))
    assert "Images with a changed prediction, 2 of 8" in page
    assert 'id="changes"' not in render_report(replace(data, changes=None))
    evil = Extension("<b>run</b>", "new", 1, 0, 0, 1, 0, (), 17)
    changes = Comparison(evil, changes.earlier, changes.test)
    assert "<b>run" not in render_report(replace(data, changes=changes))
    assert math.isclose(changes.p_value, mcnemar(6, 1))
