"""Fashion-MNIST, all 70,000 images, by the named recipes: whole processes, accuracy and time.

    python -m bench.fashion DIR [RECIPE ...]

DIR holds the four IDX files, as `sharpeye fetch fashion-mnist DIR` leaves them.
"""

import json
import tempfile
from pathlib import Path

from bench import arguments
from bench.measure import report, time_process

GOALS = {
    "fashion-lenet5": ">= 0.90",
    "fashion-10min": ">= 0.930 within 600 s",
    "fashion-45min": ">= 0.945 within 2700 s",
}


def main(data: Path, recipes: list[str]) -> None:
    for recipe in recipes or GOALS:
        with tempfile.TemporaryDirectory() as place:
            run = Path(place) / "run"
            arguments = ["train", str(data), "--config", recipe, "--quiet", "--output", str(run)]
            seconds = time_process(arguments, Path(place) / "cache")
            metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
        test = metrics["test"]
        report(
            recipe.replace("-", "_"),
            {
                "accuracy": test["accuracy"],
                "accuracy_ci95": test["accuracy_ci95"],
                "pictures": test["count"],
                "seconds": round(seconds, 1),
                "training_seconds": round(metrics["seconds"]["training"], 1),
                "n": 1,
                "goal": GOALS[recipe],
            },
        )


if __name__ == "__main__":
    recipes = {"nargs": "*", "type": arguments.one_of(GOALS)}
    arguments.run(main, __doc__, data={"type": arguments.folder}, recipes=recipes)
