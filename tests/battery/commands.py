"""Run a command in this process, or as one of its own: the small tier has no time for both."""

from collections.abc import Callable
from pathlib import Path

import pytest

from battery.processes import EndedProcess, run_command
from battery.tally import Tier
from sharpeye.cli.app import run

# Control characters, but the line feed and the tab that text output itself writes.
_RAW = {*map(chr, range(32)), *map(chr, range(127, 160)), "\u2028", "\u2029", "\u202e"} - {*"\n\t"}

RunCommand = Callable[..., EndedProcess]


def command_runner(tier: Tier, capsys: pytest.CaptureFixture[str], cache: Path) -> RunCommand:
    """A function that runs `sharpeye ARGUMENTS`: in this process in the small tier."""

    def run_here(*arguments: str | Path) -> EndedProcess:
        texts = [str(argument) for argument in arguments]
        capsys.readouterr()
        code = run(texts)
        out, err = capsys.readouterr()
        return EndedProcess(texts, code, out, err, cpu_seconds=0.0, peak_bytes=0)

    def run_there(*arguments: str | Path) -> EndedProcess:
        return run_command(*arguments, cache=cache)

    return run_here if tier.name == "small" else run_there


def check_printed(process: EndedProcess) -> None:
    """Fail if a command printed what a terminal obeys."""
    raw = _RAW & {*process.out, *process.err}
    assert not raw, f"{' '.join(process.arguments)} printed {sorted(raw)!r}"
