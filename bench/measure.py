"""Times whole processes and writes what was seen, with machine and versions, as JSON."""

import csv
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.catalogue import FIGURES
from bench.code_digest import ROOT
from sharpeye.runs import provenance

RESULTS = ROOT / "bench" / "results"
_CODE = ("src", "bench", "tests", "pyproject.toml", ":!bench/results", ":!bench/neutral.csv")


def time_process(arguments: Sequence[str], cache: Path) -> float:
    """Seconds of one `sharpeye` process, start and end included.

    It may keep compiled modules, as pip does: without them each process compiles all of SharpEye,
    which takes a tenth of the time of a training with warm caches.
    """
    command = [sys.executable, "-m", "sharpeye", *arguments]
    environment = os.environ | {"SHARPEYE_CACHE": str(cache)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    started = time.perf_counter()
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    seconds = time.perf_counter() - started
    if done.returncode:
        raise SystemExit(f"{' '.join(arguments)}: exit code {done.returncode}\n{done.stderr}")
    return seconds


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, least and greatest of what was measured, and how often it was."""
    return {
        "median": round(statistics.median(values), 4),
        "min": round(min(values), 4),
        "max": round(max(values), 4),
        "n": len(values),
    }


def must(code: int) -> None:
    """End if a command that ran in this process did not end well."""
    if code:
        raise SystemExit(code)


def read_table(file: Path) -> list[dict[str, str]]:
    """The lines of a CSV file that SharpEye wrote."""
    with file.open(encoding="utf-8", newline="") as opened:
        return list(csv.DictReader(opened))


def report(name: str, result: Mapping[str, Any]) -> None:
    """Print one result and write it to `bench/results/<name>.json`.

    A ratio is printed beside the one that the file had, so that a loss is seen at once.
    """
    about = {
        "commit": _commit(),
        "machine": f"{provenance.machine()}, {_processor()}",
        "versions": provenance.versions(),
        "date": provenance.now(),
        "digest": FIGURES[name].digest(),
    }
    file = RESULTS / f"{name}.json"
    before = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    file.write_text(json.dumps({"name": name, **result, **about}, indent=2) + "\n")
    print(f"{name}: {json.dumps(result)}")
    old, new = (_value(values, FIGURES[name].value) for values in (before, result))
    if old is not None and new is not None:
        goal = result.get("goal", "none")
        print(f"{name}: {old} at {before.get('commit', '?')}, {new} now; goal {goal}", flush=True)


def _value(result: Mapping[str, Any], key: str) -> float | None:
    """A number of a result, or the median of several; None if there is none."""
    value = result.get(key)
    return value.get("median") if isinstance(value, Mapping) else value


def _commit() -> str:
    """The commit of the measured code; `-dirty` follows if it is not what was measured."""
    commit = _last_commit()
    return commit + ("-dirty" if _changes() or commit != _BEGUN_AT else "")


def _last_commit() -> str:
    """The last one that changed code, so that results may be committed between measurements."""
    return _git("log", "-1", "--abbrev=10", "--format=%h", "--", *_CODE)


def _changes() -> str:
    return _git("status", "--porcelain", "--", *_CODE)


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"git {arguments[0]}: {done.stderr.strip()}; figures need a Git checkout")
    return done.stdout.strip()


# Asked when measuring begins: a figure is of the code that it began with.
_BEGUN_AT = "" if _changes() else _last_commit()


def _processor() -> str:
    """Name, family, model and stepping of the processor: a name alone is that of many."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    fields = [[part.strip() for part in line.split(":", 1)] for line in lines if ":" in line]
    first = dict(reversed(fields))  # The first core comes last, and so wins.
    numbers = ", ".join(f"{key} {first.get(key, '?')}" for key in ("cpu family", "model"))
    return f"{first.get('model name', '?')} ({numbers}, stepping {first.get('stepping', '?')})"
