"""Two models on the same images: what is counted, what is chance, what the page says."""

import math
from pathlib import Path

import numpy as np
import pytest

from sharpeye.core.metrics import mcnemar
from sharpeye.core.types import Sample
from sharpeye.report.comparison import Comparison, EarlierPrediction, Extension
from sharpeye.report.comparison_words import chance, change_lines, finding, worse_warning
from sharpeye.report.evaluation import Evaluation
from sharpeye.report.report import ReportData, render_report

GROWTH = Extension("runs/a", "new", 50, 1, 0, 9, 2, ("zinc",), 21)
LABELS = ("ash", "elm", "zinc")


def test_mcnemar_is_the_exact_binomial_test() -> None:
    from scipy.stats import binomtest

    for lost, gained in ((0, 0), (1, 0), (3, 1), (0, 6), (7, 7), (40, 22), (500, 430)):
        expected = binomtest(lost, lost + gained).pvalue if lost + gained else 1.0
        assert mcnemar(lost, gained) == pytest.approx(expected, rel=1e-9)
        assert mcnemar(lost, gained) == mcnemar(gained, lost)
    assert mcnemar(0, 3000) == pytest.approx(0.0, abs=1e-300)


def changes(lost: int, gained: int, *, same: int = 10, folder: Path = Path()) -> Comparison:
    """`same` ash images that stay right, one elm that is wrong in another way, two new zinc."""
    answers = [("ash", "ash", "ash")] * same  # true, before, after
    answers += [("ash", "ash", "zinc")] * lost + [("elm", "ash", "elm")] * gained
    answers += [("elm", "ash", "zinc"), ("zinc", "", "zinc"), ("zinc", "", "ash")]
    samples, probs, earlier = [], [], {}
    for number, (label, before, after) in enumerate(answers):
        path = f"{label}/{number}.png"
        samples.append(Sample(path, folder / path, label))
        probs.append([0.6 + number / 100 if each == after else 0.1 for each in LABELS])
        if before:
            earlier[path] = EarlierPrediction(before, 0.7)
    rows = np.array(probs) / np.sum(probs, axis=1, keepdims=True)
    return Comparison(GROWTH, earlier, Evaluation(LABELS, tuple(samples), rows), (9, 49))


def test_answers_are_counted_by_how_they_changed() -> None:
    found = changes(3, 2)
    assert [pair.kind for pair in found.flips] == [
        *["right to wrong"] * 3,
        *["wrong to right"] * 2,
        "wrong to wrong",
    ]
    scores = [pair.answer.score for pair in found.flips]
    assert scores[:3] == sorted(scores[:3], reverse=True)
    assert (found.before.right, found.after.right, found.before.count) == (13, 12, 16)
    assert [row.label for row in found.classes] == ["ash", "elm", "zinc"]
    ash, elm, zinc = found.classes
    assert (ash.before.right, ash.after.right, ash.lost, ash.gained) == (13, 10, 3, 0)
    assert (elm.before.right, elm.after.right, elm.before.count) == (0, 2, 3)
    assert (zinc.new, zinc.before.count, zinc.added.right, zinc.added.count) == (True, 0, 1, 2)
    assert found.p_value == pytest.approx(1.0)
    entry = found.metrics
    assert entry["earlier_test"]["gone"] == 5
    assert entry["per_class"]["zinc"]["before"]["accuracy"] is None
    assert entry["features"] == {"computed": 9, "from_cache": 49}
    assert len(found.rows) == 6


def test_worse_and_better_are_said_only_beyond_chance() -> None:
    assert not changes(5, 0).worse  # p = 0.0625
    assert changes(6, 0).worse and not changes(6, 0).better
    assert changes(0, 6).better and not changes(0, 6).worse
    assert "may be chance" in finding(changes(5, 0))[1]
    assert finding(changes(6, 0))[1].startswith("It got worse, beyond chance: 6 turned")
    assert "worse than runs/a" in worse_warning(changes(6, 0))
    assert "None of them turned" in finding(changes(0, 0))[1]
    assert [chance(p) for p in (1.0, 0.0312, 0.0004)] == ["p = 1.00", "p = 0.031", "p < 0.001"]


def test_the_lines_are_short_and_whole() -> None:
    lines = change_lines(changes(6, 0).metrics)
    assert lines == {
        "added": "9 pictures, 1 new class (zinc) to the 49 of runs/a; "
        "features: 9 computed, 49 cached",
        "before": "its 17 test pictures: 94.1% right, now 58.8% "
        "(6 right to wrong, 0 wrong to right; worse beyond chance, p = 0.031)",
        "new": "right on zinc 1 of 2",
    }
    nothing = Comparison(GROWTH, {}, changes(1, 0).test)
    assert "is left to compare with" in change_lines(nothing.metrics)["before"]
    assert "trained anew" in change_lines(nothing.metrics)["added"]
    assert "is left to compare with" in finding(nothing)[0]


def test_boxes_are_compared_where_all_have_both() -> None:
    found = changes(1, 0, same=2)
    boxed = [Sample(s.path, s.file, s.label, box=(0.0, 0.0, 0.5, 1.0)) for s in found.test.samples]
    said = np.tile([0.0, 0.0, 1.0, 1.0], (len(boxed), 1))
    test = Evaluation(LABELS, tuple(boxed), found.test.probs, said)
    earlier = {
        path: EarlierPrediction(each.predicted, each.score, 0.8)
        for path, each in found.earlier.items()
    }
    both = Comparison(GROWTH, earlier, test)
    assert both.overlaps == pytest.approx((0.8, 0.5))
    assert both.metrics["earlier_test"]["mean_iou_after"] == pytest.approx(0.5)
    assert "mean IoU of the boxes was 0.80, and is 0.50 now" in " ".join(finding(both))
    assert found.overlaps is None


def test_the_page_shows_it_safely_and_only_where_something_was_added(tmp_path: Path) -> None:
    found = changes(6, 1, folder=tmp_path)
    page = render_report(ReportData("t", [], found.test, {}, {}, changes=found))
    assert page.count('id="changes"') == 1
    assert "What changed" in page and "changes.csv" in page
    gallery = page[page.index('id="changes-gallery"') : page.index('id="mistakes"')]
    assert gallery.count("<figure") == 8
    assert gallery.index("right to wrong") < gallery.index("wrong to right")
    assert gallery.index("wrong to right") < gallery.index("wrong to wrong")
    few = render_report(ReportData("t", [], found.test, {}, {}, changes=found, max_pictures=2))
    assert "Pictures with another answer, 2 of 8" in few
    assert 'id="changes"' not in render_report(ReportData("t", [], found.test, {}, {}))
    evil = Extension("<b>run</b>", "new", 1, 0, 0, 1, 0, (), 17)
    assert "<b>run" not in render_report(
        ReportData("t", [], found.test, {}, {}, changes=Comparison(evil, found.earlier, found.test))
    )
    assert math.isclose(found.p_value, mcnemar(6, 1))
