"""Fashion-MNIST, all 70,000 images, by the named recipes: whole processes, accuracy and time.

    python -m bench.fashion DIR [RECIPE ...] [--pairs N]

DIR holds the four IDX files, as `sharpeye fetch fashion-mnist DIR` leaves them. With `--pairs` each
recipe is also compared with what it was before, in N pairs of trainings with the same seed.
"""

import json
import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import arguments
from bench.measure import read_table, report, time_process
from sharpeye.core.metrics import mcnemar

GOALS = {
    "fashion-lenet5": ">= 0.90",
    "fashion-10min": ">= 0.930 within 600 s",
    "fashion-45min": ">= 0.945 within 2700 s",
}
# What a recipe had before: 32 bits, so fewer epochs or a narrower network in the same time; fewer
# images to learn from; one look at each image; no random erasing.
BEFORE = {
    "fashion-10min": {
        "train.precision": "float32",
        "train.epochs": 18,
        "train.time_limit": 0,
        "split.validation": 0.1,
        "net.flip_tta": "false",
    },
    "fashion-45min": {
        "train.precision": "float32",
        "train.epochs": 24,
        "train.time_limit": 0,
        "net.width": 24,
        "net.flip_tta": "false",
        "augment.erase": 0,
    },
}


@dataclass(frozen=True)
class Trained:
    """A training as a whole process: its metrics, seconds, and which test images it got right."""

    metrics: dict[str, Any]
    seconds: float
    right: list[bool]

    @property
    def accuracy(self) -> float:
        return float(self.metrics["test"]["accuracy"])


def main(data: Path, recipes: list[str], pairs: int) -> None:
    for recipe in recipes or GOALS:
        name = recipe.replace("-", "_")
        first = train(data, recipe)
        report(name, row(first) | {"n": 1, "goal": GOALS[recipe]})
        if pairs and recipe in BEFORE:
            report(f"{name}_pairs", compare(data, recipe, first, pairs))


def row(trained: Trained) -> dict[str, Any]:
    test = trained.metrics["test"]
    return {
        "accuracy": test["accuracy"],
        "accuracy_ci95": test["accuracy_ci95"],
        "pictures": test["count"],
        "seconds": round(trained.seconds, 1),
        "training_seconds": round(trained.metrics["seconds"]["training"], 1),
        "epochs": trained.metrics["epochs"],
    }


def compare(data: Path, recipe: str, first: Trained, pairs: int) -> dict[str, Any]:
    """The recipe against what it was, by accuracy and by McNemar's test of each pair."""
    before = [train(data, recipe, {"seed": i} | BEFORE[recipe]) for i in range(pairs)]
    # As many epochs as fitted into the time of the first one, whatever else the machine does now.
    epochs = {"train.time_limit": 0, "train.epochs": first.metrics["epochs"]}
    after = [first, *(train(data, recipe, {"seed": i} | epochs) for i in range(1, pairs))]
    differences = [b.accuracy - a.accuracy for a, b in zip(before, after, strict=True)]
    result: dict[str, Any] = {
        key: {
            "accuracy": [round(trained.accuracy, 4) for trained in runs],
            "seconds": [round(trained.seconds, 1) for trained in runs],
            "epochs": [trained.metrics["epochs"] for trained in runs],
        }
        for key, runs in (("before", before), ("after", after))
    }
    result |= {"difference": round(statistics.mean(differences), 5), "n": pairs}
    if pairs > 1:
        result["standard_error"] = round(statistics.stdev(differences) / pairs**0.5, 5)
    result["mcnemar"] = [_test(a.right, b.right) for a, b in zip(before, after, strict=True)]
    return result


def _test(before: list[bool], after: list[bool]) -> dict[str, float]:
    lost = sum(a and not b for a, b in zip(before, after, strict=True))
    gained = sum(b and not a for a, b in zip(before, after, strict=True))
    return {"lost": lost, "gained": gained, "p_value": round(mcnemar(lost, gained), 6)}


def train(data: Path, recipe: str, changes: dict[str, Any] | None = None) -> Trained:
    """Train by a recipe, as a whole process with an empty cache."""
    with tempfile.TemporaryDirectory() as place:
        run = Path(place) / "run"
        command = ["train", str(data), "--config", recipe, "--quiet", "--output", str(run)]
        for key, value in (changes or {}).items():
            command += ["--set", f"{key}={value}"]
        seconds = time_process(command, Path(place) / "cache")
        metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
        right = [line["predicted"] == line["label"] for line in read_table(run / "predictions.csv")]
        epochs = len(read_table(run / "history.csv"))
    return Trained(metrics | {"epochs": epochs}, seconds, right)


if __name__ == "__main__":
    recipes = {"nargs": "*", "type": arguments.one_of(GOALS)}
    pairs = {"type": arguments.count(1), "default": 0}
    arguments.run(
        main, __doc__, data={"type": arguments.folder}, recipes=recipes, **{"--pairs": pairs}
    )
