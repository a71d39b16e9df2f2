"""Signals end a command in order, but never in the middle of an import."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

# Sends itself a signal half-way, as a person may who presses Ctrl-C.
MODULE = """
import os, signal
os.kill(os.getpid(), signal.Signals[os.environ["NUMBER"]])
total = sum(range(1000))
"""
PROGRAM = """
import time
from sharpeye.cli.signals import Signalled, stop_on_signals
stop_on_signals()
try:
    import halfway
    print("imported", halfway.total)
    time.sleep(10)
    print("nothing came")
except Signalled as signalled:
    print("stopped", signalled.stopped.exit_code)
"""


@pytest.mark.parametrize("name", ["SIGINT", pytest.param("SIGTERM", marks=pytest.mark.slow)])
def test_a_signal_waits_for_an_import_to_end(name: str, tmp_path: Path) -> None:
    (tmp_path / "halfway.py").write_text(MODULE, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=tmp_path,
        env={"NUMBER": name, "PATH": "", "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    number = 128 + signal.Signals[name]
    assert done.stdout.splitlines() == ["imported 499500", f"stopped {number}"], done.stderr
