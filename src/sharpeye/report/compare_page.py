"""Render the page that compares finished runs: one self-contained file."""

from collections.abc import Mapping

from sharpeye.core.formatting import MISSING, NBSP, duration, percent
from sharpeye.core.types import Sample
from sharpeye.report.comparison_wording import p_value_text
from sharpeye.report.page_images import THUMB, page_image
from sharpeye.report.run_comparison import ComparedRun, PairedTest, RunComparison
from sharpeye.report.templating import render
from sharpeye.report.wording import plural

SIGNIFICANCE_LEVEL = 0.05
_MAX_CLASSES = 200


def render_compare(comparison: RunComparison, samples: Mapping[int, Sample]) -> str:
    """The page as HTML.

    Args:
        samples: the changed images that are shown, by their index; missing files get a placeholder.
    """
    cards = []
    for index, sample in samples.items():
        predictions = [(run.name, run.predictions[index]) for run in comparison.runs]
        cards.append((page_image(sample), comparison.labels[index], predictions))
    return render(
        "compare.html.j2",
        title=" · ".join(run.name for run in comparison.runs),
        headlines=[headline(comparison, *pair) for pair in _pairs(comparison)],
        rows=[_row(comparison, run, test) for run, test in _with_tests(comparison)],
        names=[run.name for run in comparison.runs],
        classes=comparison.classes[:_MAX_CLASSES],
        cards=cards,
        changed=len(comparison.changed),
        count=comparison.count,
        thumb=THUMB,
    )


def headline(comparison: RunComparison, run: ComparedRun, test: PairedTest) -> str:
    """One sentence about a run against the reference."""
    reference = comparison.runs[0]
    points = f"{100 * abs(test.difference):.1f}{NBSP}points"
    if test.adjusted >= SIGNIFICANCE_LEVEL:
        verdict = "the difference may be chance"
    else:
        verdict = f"{run.name if test.difference > 0 else reference.name} is better"
    more = "more" if test.difference >= 0 else "fewer"
    accuracy, _ = comparison.accuracy(run)
    images = plural(comparison.count, "common test image")
    return (
        f"{run.name} is right on {percent(accuracy, 1)} of {images}, {points} {more} "
        f"than {reference.name} (95{NBSP}% interval {_points(test.interval[0])} to "
        f"{_points(test.interval[1])}; {p_value_text(test.adjusted)}): {verdict}."
    )


def _pairs(comparison: RunComparison) -> list[tuple[ComparedRun, PairedTest]]:
    return [*zip(comparison.runs[1:], comparison.tests, strict=True)]


def _with_tests(comparison: RunComparison) -> list[tuple[ComparedRun, PairedTest | None]]:
    return [(comparison.runs[0], None), *_pairs(comparison)]


def _row(comparison: RunComparison, run: ComparedRun, test: PairedTest | None) -> dict[str, object]:
    accuracy, interval = comparison.accuracy(run)
    seconds = run.seconds_an_image
    return {
        "name": run.name,
        "model": run.run.config.model.name,
        "accuracy": accuracy,
        "interval": interval,
        "difference": _points(test.difference) if test else "reference",
        "changes": f"{test.gained} / {test.lost}" if test else MISSING,
        "p_value": p_value_text(test.adjusted).removeprefix("p ").removeprefix("= ")
        if test
        else MISSING,
        "megabytes": f"{run.megabytes:.1f}{NBSP}MB",
        "speed": f"{1 / seconds:,.0f}/s" if seconds else MISSING,
        "training": duration(run.training_seconds),
    }


def _points(share: float) -> str:
    points = round(100 * share, 1)
    return f"{points:+.1f}" if points else "0.0"


def summary_line(comparison: RunComparison, run: ComparedRun) -> str:
    """The line of a run for a terminal."""
    accuracy, (low, high) = comparison.accuracy(run)
    text = f"{percent(accuracy, 1)} ({percent(low)} to {percent(high)})"
    costs = f"{run.megabytes:.1f} MB, {1 / run.seconds_an_image:,.0f} images/s"
    return f"{text}, {costs}, trained in {duration(run.training_seconds)}".replace(NBSP, " ")
