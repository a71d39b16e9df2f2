"""The battery's own count: what fails is counted by its kind, and a process that hangs is ended."""

import json
import subprocess
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


def test_a_program_that_breaks_off_is_a_row_with_a_failure(tmp_path: Path) -> None:
    """A loss outside of the cases, a time limit, a fixture that fails before or after the count."""
    (tmp_path / "test_programs.py").write_text(
        "import time\nimport pytest\nfrom battery.conftest import *\n"
        "from battery.tally import LossError\n"
        "@pytest.fixture\ndef before(): raise ValueError('before')\n"
        "def test_a(tally):\n    'A loss'\n    with tally.case('one'): pass\n"
        "    raise LossError('gone')\n"
        "def test_b(before, tally): 'A fixture'\n"
        "def test_c(tally, before): 'A later fixture'\n"
        "@pytest.mark.timeout(0.3)\ndef test_d(tally):\n    'A limit'\n    time.sleep(5)\n"
        "def test_e(tally):\n    'Good'\n    with tally.case('one'): pass\n"
    )
    figures = tmp_path / "figures.json"
    words = [str(tmp_path), "-n0", "-q", "-p", "battery.conftest", "--figures", str(figures)]
    done = subprocess.run(
        [command()[0], "-m", "pytest", *words, "-c", "/dev/null", "--rootdir", str(tmp_path)],
        env=environment(tmp_path, PYTHONPATH=str(Path(__file__).parents[1])),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    rows = {row["program"]: row for row in json.loads(figures.read_text())["programs"]}
    kinds = ("tried", "passed", "tracebacks", "losses", "hangs", "others")
    assert {name: tuple(row[kind] for kind in kinds) for name, row in rows.items()} == {
        "A loss": (2, 1, 0, 1, 0, 0),
        "A fixture": (1, 0, 1, 0, 0, 0),
        "A later fixture": (1, 0, 1, 0, 0, 0),
        "A limit": (1, 0, 0, 0, 1, 0),
        "Good": (1, 1, 0, 0, 0, 0),
    }


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
