"""A small network from scratch with and without a teacher, over random splits.

    python -m bench.distill PHOTOS [SPLITS]

The teacher is the default model, trained on the same images. An epoch with it passes over eight
views of each image; without it the network has eight times as many epochs: as many steps.
"""

import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

from bench import arguments
from bench.accuracy import write_split
from bench.measure import report, time_process
from sharpeye.core.storage import cache_root

EPOCHS, VIEWS, SIDE = 20, 8, 64
STUDENT = ("--model", "cnn", "--set", f"model.image_size={SIDE}", "--set", "model.fit=pad")


def main(photos: Path, splits: int) -> None:
    accuracies: dict[str, list[float]] = {"teacher": [], "alone": [], "distilled": []}
    for seed in range(splits):
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            write_split(photos, folder / "split", seed)
            views = ("--set", f"distill.views={VIEWS}", "--teacher", str(folder / "teacher"))
            options: dict[str, tuple[str, ...]] = {
                "teacher": (),
                "alone": (*STUDENT, "--epochs", str(EPOCHS * VIEWS)),
                "distilled": (*STUDENT, "--epochs", str(EPOCHS), *views),
            }
            for who, own in options.items():
                command = ["train", str(folder / "split"), "--quiet", *own]
                time_process([*command, "--output", str(folder / who)], cache_root())
                metrics = json.loads((folder / who / "metrics.json").read_text())
                accuracies[who].append(metrics["test"]["accuracy"])
    report(f"distill_{photos.resolve().name}", result(accuracies, splits))


def result(accuracies: dict[str, list[float]], splits: int) -> dict[str, Any]:
    pairs = zip(accuracies["alone"], accuracies["distilled"], strict=True)
    points = [100 * (distilled - alone) for alone, distilled in pairs]
    return {
        "accuracy": {who: round(statistics.mean(own), 4) for who, own in accuracies.items()},
        "points": {
            "median": round(statistics.median(points), 2),
            "mean": round(statistics.mean(points), 2),
            "standard_error": round(statistics.stdev(points) / splits**0.5, 2),
            "min": round(min(points), 2),
            "max": round(max(points), 2),
            "n": splits,
        },
        "goal": ">= 10",
    }


if __name__ == "__main__":
    splits = {"type": arguments.count(2), "nargs": "?", "default": 10}
    arguments.run(main, __doc__, photos={"type": arguments.folder}, splits=splits)
