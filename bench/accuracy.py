"""Test accuracy of the default model on a folder with one sub-folder a class, over random splits.

    python -m bench.accuracy PHOTOS [SPLITS]

Each split copies 70 % of every class to train/, the rest to test/, and runs the whole program.
"""

import json
import random
import shutil
import statistics
import tempfile
from pathlib import Path

from bench import arguments
from bench.measure import report, spread, time_process
from sharpeye.core.storage import cache_root


def main(photos: Path, splits: int) -> None:
    accuracies, seconds = [], []
    for seed in range(splits):
        with tempfile.TemporaryDirectory() as place:
            write_split(photos, Path(place) / "split", seed)
            run = Path(place) / "run"
            command = ["train", str(Path(place) / "split"), "--quiet", "--output", str(run)]
            seconds.append(time_process(command, cache_root()))
            metrics = json.loads((run / "metrics.json").read_text())
            accuracies.append(metrics["test"]["accuracy"])
    result = {
        "accuracies": [round(a, 4) for a in accuracies],
        "mean": round(statistics.mean(accuracies), 4),
        "deviation": round(statistics.stdev(accuracies), 4),
        "lowest": round(min(accuracies), 4),
        "highest": round(max(accuracies), 4),
    }
    report(f"accuracy_{photos.resolve().name}", result | {"seconds": spread(seconds)})


def write_split(photos: Path, target: Path, seed: int) -> None:
    """Copy 70 % of each class to `target/train`, the rest to `target/test`."""
    shuffler = random.Random(seed)
    for folder in sorted(path for path in photos.iterdir() if path.is_dir()):
        files = sorted(folder.iterdir())
        shuffler.shuffle(files)
        count = round(0.7 * len(files))
        for i, file in enumerate(files):
            part = target / ("train" if i < count else "test") / folder.name
            part.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, part)


if __name__ == "__main__":
    splits = {"type": arguments.count(2), "nargs": "?", "default": 30}
    arguments.run(main, __doc__, photos={"type": arguments.folder}, splits=splits)
