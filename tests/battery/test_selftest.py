"""The battery's own count: what fails is counted by its kind, and a process that hangs is ended."""

from pathlib import Path

import pytest

from battery.processes import check_unchanged, run_command, run_process
from battery.tally import HangError, LossError, Tally, Tier, TracebackError
from runner import command, environment, tree


def test_a_failed_case_is_counted_by_its_kind_and_the_next_one_runs() -> None:
    tally = Tally("a program")
    for error in (TracebackError(), LossError(), HangError(), AssertionError(), ValueError(), None):
        with tally.case("a case"):
            if error:
                raise error
    assert (tally.tried, tally.passed) == (6, 1)
    assert tally.kinds() == {"tracebacks": 2, "losses": 1, "hangs": 1, "others": 1}
    assert tally.text().startswith("1 of 6 passed\na case: TracebackError")


def test_each_tier_has_its_count() -> None:
    counts = [Tier(name).count(1, battery=2, full=3) for name in ("small", "battery", "full")]
    assert counts == [1, 2, 3]


def test_a_process_is_measured_and_ended_at_its_limit(tmp_path: Path) -> None:
    ended = run_command("--version", cache=tmp_path).check({0})
    assert ended.out.startswith("sharpeye ")
    assert ended.cpu_seconds > 0.05
    assert ended.peak_bytes > 10 * 2**20
    python = command()[0]
    with pytest.raises(HangError, match="runs after"):
        run_process(
            [python, "-c", "import time; time.sleep(60)"], env=environment(tmp_path), timeout=0.5
        )
    crash = [python, "-c", "import os; os.abort()"]
    with pytest.raises(TracebackError):
        run_process(crash, env=environment(tmp_path), timeout=20).check()


def test_a_changed_folder_is_a_loss(tmp_path: Path) -> None:
    (tmp_path / "1.txt").write_text("1")
    before = tree(tmp_path)
    check_unchanged(tmp_path, before)
    (tmp_path / "2.txt").write_text("2")
    with pytest.raises(LossError, match=r"2\.txt"):
        check_unchanged(tmp_path, before)
