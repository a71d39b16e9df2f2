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

from sharpeye.runs import provenance

RESULTS = Path(__file__).parent / "results"


def time_process(arguments: Sequence[str], cache: Path) -> float:
    """Seconds of one `sharpeye` process, start and end included."""
    command = [sys.executable, "-m", "sharpeye", *arguments]
    started = time.perf_counter()
    done = subprocess.run(
        command, env=os.environ | {"SHARPEYE_CACHE": str(cache)}, capture_output=True, text=True
    )
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
    """Print one result and write it to `bench/results/<name>.json`."""
    about = {
        "machine": f"{provenance.machine()}, {_processor()}",
        "versions": provenance.versions(),
        "date": provenance.now(),
    }
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps({"name": name, **result, **about}, indent=2)
    (RESULTS / f"{name}.json").write_text(text + "\n")
    print(f"{name}: {json.dumps(result)}")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if "model name" in line), "?")
