"""Progress as lines, and as records for programs."""

import json

import pytest

from sharpeye.cli import console
from sharpeye.cli.console import ProgressReporter


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time in seconds, which a test moves on."""
    now = [100.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    return now


def test_a_line_every_ten_seconds_has_the_rate_and_the_time_that_is_left(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    with ProgressReporter() as progress:
        progress("training", 2000, 60_000)
        for seconds, done in ((5, 12_000), (11, 24_000), (15, 30_000), (22, 46_000)):
            clock[0] = 100.0 + seconds
            progress("training", done, 60_000)
        clock[0] = 140.0
        progress("steps", 1, 0)
        clock[0] = 151.0
        progress("steps", 2, 0)
    assert capsys.readouterr().err.splitlines() == [
        "training: 24000 of 60000, 2,000 a second, 18 s left",
        "training: 46000 of 60000, 2,000 a second, 7 s left",
        "steps: 2, 0.091 a second",
    ]


def test_quiet_has_no_lines(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressReporter(quiet=True) as progress:
        progress("training", 0, 10)
        clock[0] += 60
        progress("training", 5, 10)
    assert capsys.readouterr().err == ""


def test_records_have_the_rate_and_the_time_that_is_left(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    with ProgressReporter(form="jsonl") as progress:
        progress("training", 0, 100)
        for seconds, done in ((0.1, 5), (2, 50), (4, 100)):
            clock[0] = 100.0 + seconds
            progress("training", done, 100)
    records = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert records == [
        {"stage": "training", "done": 0, "total": 100, "seconds": 0.0}
        | {"per_second": None, "left": None},
        {"stage": "training", "done": 50, "total": 100, "seconds": 2.0}
        | {"per_second": 25.0, "left": 2.0},
        {"stage": "training", "done": 100, "total": 100, "seconds": 4.0}
        | {"per_second": 25.0, "left": 0.0},
    ]
