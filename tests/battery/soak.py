"""Predict, or train again and again, in one process, and record what it holds.

python soak.py predict MODEL FOLDER COUNT     # a line of JSON after each twentieth of the count
python soak.py train FOLDER OUTPUT COUNT
"""

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import sharpeye
from images.peak_memory import status
from runner import train_here


def report(done: int) -> None:
    temporaries = [name for name in os.listdir(tempfile.gettempdir()) if "sharpeye" in name]
    line = {
        "done": done,
        "bytes": status("VmRSS"),
        "handles": len(os.listdir("/proc/self/fd")),
        "threads": status("Threads") // 1024,  # which is no number of KiB
        "temporaries": len(temporaries),
    }
    print(json.dumps(line), file=sys.stderr, flush=True)


def repeat(work: Callable[[int], object], count: int) -> None:
    reports = {count * step // 20 for step in range(1, 21)}
    for number in range(count):
        work(number)
        if number + 1 in reports:
            report(number + 1)


def main(kind: str, first: str, second: str, count: str) -> None:
    if kind == "predict":
        model, files = sharpeye.load(first), sorted(Path(second).iterdir())
        repeat(lambda number: model.predict(files[number % len(files)]), int(count))
        return

    def train(number: int) -> None:
        output = Path(second) / f"run{number}"
        if code := train_here(Path(first), output, "--set", f"seed={number}", "-q"):
            sys.exit(code)
        shutil.rmtree(output)

    repeat(train, int(count))


if __name__ == "__main__":
    main(*sys.argv[1:])
