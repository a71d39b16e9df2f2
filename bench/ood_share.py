"""The share of the out-of-distribution statistics in the seconds of a training, whole processes.

The features are in the cache, so that nothing else takes long: with an empty cache the share is
smaller. `metrics.json` has the seconds of the statistics under `seconds.unknown`.
"""

import json
import tempfile
from pathlib import Path

from bench import arguments
from bench.images import write_photos
from bench.measure import report, spread, time_process
from bench.retrain import retrain_flags

WARM = 5
GOAL = "<= 0.15"


def main() -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for name, count, classes in (("retrain", 1000, 5), ("train", 141, 8), ("1000", 1000, 10)):
            write_photos(folder / name, count, classes=classes, width=330)
        measure("retrain", retrain_flags(folder / "retrain", folder / "retrained"), folder)
        for name in ("train", "1000"):
            arguments = ["train", str(folder / name), "--quiet", "--overwrite"]
            measure(name, [*arguments, "--output", str(folder / f"run_{name}")], folder)


def measure(name: str, arguments: list[str], folder: Path) -> None:
    """Run the training once to fill the cache, and then report the shares of the next ones."""
    cache = folder / "cache"
    time_process(arguments, cache)
    shares, seconds = [], []
    for _ in range(WARM):
        total = time_process(arguments, cache)
        newest = max(folder.rglob("metrics.json"), key=lambda file: file.stat().st_mtime_ns)
        seconds.append(json.loads(newest.read_text())["seconds"]["unknown"])
        shares.append(seconds[-1] / total)
    result = {"ratio": spread(shares), "ood_seconds": spread(seconds), "goal": GOAL}
    report(f"ood_share_{name}", result)


if __name__ == "__main__":
    arguments.run(main, __doc__)
