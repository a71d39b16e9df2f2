"""Time and memory of `sharpeye check --quick` on many small images, whole processes.

Run as `python -m bench.check [COUNT ...]`; by default 10,000 and 100,000. Each image is a JPEG of
96 x 72 pixels, unlike all others; one in a hundred is a recompressed copy.
"""

import io
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from bench import arguments
from bench.measure import report

COUNTS = (10_000, 100_000)
CLASSES = 10
_PROGRAM = """
import json, resource, sys
from sharpeye.cli.app import run
code = run(sys.argv[1:])
used = resource.getrusage(resource.RUSAGE_SELF)
seconds = used.ru_utime + used.ru_stime
print(json.dumps({"code": code, "peak_mib": used.ru_maxrss / 1024, "cpu_seconds": seconds}))
"""


def main(counts: list[int] | None = None) -> None:
    counts = counts or COUNTS
    with tempfile.TemporaryDirectory() as place:
        rows = [measure(Path(place), count) for count in counts]
    first, last = rows[0], rows[-1]
    # Processor time: other work on the machine changes it less than the time that passes.
    ratio = last["cpu_seconds"] / last["pictures"] / (first["cpu_seconds"] / first["pictures"])
    report("check", {"runs": rows, "time_a_picture_ratio": round(ratio, 3), "goal": "1 GiB, 1.2"})


def measure(place: Path, count: int) -> dict[str, float]:
    """Seconds and peak memory, cold and then warm, on `count` images."""
    folder, cache = place / f"pictures{count}", place / f"cache{count}"
    copies = write_images(folder, count)
    cold, result = run_check(folder, cache)
    warm, _ = run_check(folder, cache)
    return {
        "pictures": count,
        "seconds": round(cold["seconds"], 2),
        "cpu_seconds": round(cold["cpu_seconds"], 2),
        "seconds_warm": round(warm["seconds"], 2),
        "cpu_seconds_warm": round(warm["cpu_seconds"], 2),
        "peak_mib": round(cold["peak_mib"], 1),
        "copies_planted": copies,
        "copies_found": result,
    }


def write_images(folder: Path, count: int) -> int:
    """Write the images; returns how many copies are among them."""
    random = np.random.default_rng(0)
    copies = 0
    for number in range(count):
        place = folder / f"class{number % CLASSES}"
        place.mkdir(parents=True, exist_ok=True)
        copied = number % 100 == 99
        if not copied:
            low = random.integers(0, 256, (7, 9, 3)).astype(np.uint8)
            image = Image.fromarray(low).resize((96, 72), Image.Resampling.BICUBIC)
        copies += copied
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=50 if copied else 90)
        (place / f"{number}.jpg").write_bytes(buffer.getvalue())
    return copies


def run_check(folder: Path, cache: Path) -> tuple[dict[str, float], int]:
    """(seconds and peak memory, copies found) of one process."""
    command = [sys.executable, "-c", _PROGRAM, "check", str(folder), "--quick", "--json", "-q"]
    started = time.perf_counter()
    done = subprocess.run(
        command, env=os.environ | {"SHARPEYE_CACHE": str(cache)}, capture_output=True, text=True
    )
    seconds = time.perf_counter() - started
    if done.returncode:
        raise SystemExit(done.stderr)
    counts, usage = map(json.loads, done.stdout.splitlines())
    result = counts["counts"].get("near_duplicate", 0) + counts["counts"].get("label_conflict", 0)
    return {**usage, "seconds": seconds}, result


if __name__ == "__main__":
    arguments.run(main, __doc__, counts={"type": arguments.count(1), "nargs": "*"})
