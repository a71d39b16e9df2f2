"""A recipe on 10,000 colour images of 32 pixels against what it was before, in pairs.

    python -m bench.colour PHOTOS

PHOTOS has one sub-folder a class, with one object a file. The images are cuts of these photographs;
an object is in the training or in the test, never in both. A pair has the seed in common, and the
epochs are in the ratio of those that the two recipes have in the same time on Fashion-MNIST
(`bench.fashion`); the seconds are reported. The standard error counts objects, since cuts of one
are alike.
"""

import random
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from bench import arguments
from bench.fashion import BEFORE
from bench.measure import read_table, report, time_process
from sharpeye.core.types import Sample
from sharpeye.data.sample_image import read_image

IMAGES, SIDE, SEEDS = 10_000, 32, 3
RECIPE = "fashion-10min"
COLOUR = {"net.color": "rgb", "model.image_size": SIDE, "train.time_limit": 0}
EPOCHS = {"before": 26, "after": 39}


def main(photos: Path) -> None:
    with tempfile.TemporaryDirectory() as place:
        data = Path(place) / "cuts"
        write_cuts(photos, data)
        rights: dict[str, list[dict[str, float]]] = {"before": [], "after": []}
        seconds: dict[str, list[float]] = {"before": [], "after": []}
        for seed in range(SEEDS):
            for who, changes in (("before", BEFORE[RECIPE]), ("after", {})):
                run = Path(place) / f"{who}{seed}"
                own = {"seed": seed, "train.epochs": EPOCHS[who]}
                seconds[who].append(round(train(data, run, changes | COLOUR | own), 1))
                rights[who].append(by_object(run))
        report("colour_pairs", result(rights) | {"epochs": EPOCHS, "seconds": seconds})


def write_cuts(photos: Path, target: Path) -> None:
    """About 10,000 square cuts, as many of each object; 70 % of the objects of a class train."""
    shuffler = random.Random(0)
    files = {
        folder.name: sorted(folder.iterdir())
        for folder in sorted(photos.iterdir())
        if folder.is_dir()
    }
    each = -(-IMAGES // sum(map(len, files.values())))
    for label, own in files.items():
        shuffler.shuffle(own)
        for number, file in enumerate(own):
            part = target / ("train" if number < round(0.7 * len(own)) else "test") / label
            part.mkdir(parents=True, exist_ok=True)
            image = read_image(Sample(file.name, file, label)).convert("RGB")
            for index in range(each):
                cut(image, shuffler).save(part / f"{file.stem}_nohash_{index:03}.png")


def cut(image: Image.Image, shuffler: random.Random) -> Image.Image:
    """A square of 60 to 100 % of the shorter side, anywhere in the image."""
    side = round(min(image.size) * shuffler.uniform(0.6, 1.0))
    left, top = (shuffler.randint(0, length - side) for length in image.size)
    box = (left, top, left + side, top + side)
    return image.resize((SIDE, SIDE), Image.Resampling.BICUBIC, box=box)


def train(data: Path, run: Path, changes: Mapping[str, Any]) -> float:
    """Train by the recipe; returns the seconds."""
    command = ["train", str(data), "--config", RECIPE, "--quiet", "--output", str(run)]
    for key, value in changes.items():
        command += ["--set", f"{key}={value}"]
    return time_process(command, data.parent / "cache")


def by_object(run: Path) -> dict[str, float]:
    """The share of right predictions for each object of the test."""
    right = defaultdict(list)
    for row in read_table(run / "predictions.csv"):
        right[row["path"].partition("_nohash_")[0]].append(row["predicted"] == row["label"])
    return {name: statistics.mean(values) for name, values in right.items()}


def result(rights: Mapping[str, list[dict[str, float]]]) -> dict[str, Any]:
    accuracies = {
        who: [round(statistics.mean(shares.values()), 4) for shares in runs]
        for who, runs in rights.items()
    }
    objects = sorted(rights["after"][0])
    differences = [
        statistics.mean(
            after[name] - before[name]
            for before, after in zip(rights["before"], rights["after"], strict=True)
        )
        for name in objects
    ]
    return {
        "accuracy": accuracies,
        "difference": round(statistics.mean(differences), 5),
        "standard_error": round(statistics.stdev(differences) / len(objects) ** 0.5, 5),
        "objects": len(objects),
        "n": len(rights["after"]),
    }


if __name__ == "__main__":
    arguments.run(main, __doc__, photos={"type": arguments.folder})
