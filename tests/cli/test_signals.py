"""Signals end a command in order, but never in the middle of an import."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

# The process signals itself during the import, as when a person presses Ctrl-C.
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
    print("no signal")
except Signalled as signalled:
    print("stopped", signalled.error.exit_code)
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_waits_for_the_end_of_an_import(name: str, tmp_path: Path) -> None:
    (tmp_path / "halfway.py").write_text(MODULE, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=tmp_path,
        env={"NUMBER": name, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])},
        capture_output=True,
        text=True,
        timeout=60,
    )
    code = 128 + signal.Signals[name]
    assert done.stdout.splitlines() == ["imported 499500", f"stopped {code}"], done.stderr


NOHUP = """
import os, signal, sys
from sharpeye.cli.signals import Signalled, stop_on_signals
stop_on_signals()
number = signal.Signals[sys.argv[1]]
assert signal.getsignal(number) is signal.SIG_IGN
os.kill(os.getpid(), number)
try:
    os.kill(os.getpid(), signal.SIGTERM)
except Signalled as signalled:
    print("stopped", signalled.error.exit_code)
"""


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize("name", ["SIGHUP", "SIGINT"])
def test_a_signal_that_the_caller_ignores_stays_ignored(name: str) -> None:
    """As with `nohup`, and in the background of a shell."""
    number = signal.Signals[name]
    done = subprocess.run(
        [sys.executable, "-c", NOHUP, name],
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
        preexec_fn=lambda: signal.signal(number, signal.SIG_IGN),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout == "stopped 143\n", done.stderr


# The process signals itself at a moment at which the command does not run: before `run` is
# imported, or when it has returned.
OUTER = """
import os, signal, sys
from sharpeye.cli import signals
when, name = sys.argv[1:]
function = {"before": "exit_on_signals", "after": "ignore_signals"}[when]
original = getattr(signals, function)
def interrupted():
    setattr(signals, function, original)
    if when == "before":
        original()
    os.kill(os.getpid(), signal.Signals[name])
    original()
setattr(signals, function, interrupted)
from sharpeye.__main__ import main
sys.argv[1:] = ["--version"]
main()
"""


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_before_or_after_the_command_is_no_traceback(when: str, name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", OUTER, when, name],
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (128 + signal.Signals[name], "")
    assert bool(done.stdout) == (when == "after")
