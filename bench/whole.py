"""Whole processes: train on 141 images and on 1,797 digits, predict one image."""

import json
import shutil
import tempfile
from pathlib import Path

from bench import arguments
from bench.images import write_photos
from bench.measure import report, spread, time_process

IMAGES, COLD, WARM = 141, 3, 7


def main() -> None:
    with tempfile.TemporaryDirectory() as place:
        photos, cache, runs = Path(place) / "photos", Path(place) / "cache", Path(place) / "runs"
        write_photos(photos, IMAGES, classes=8)
        train = ["train", str(photos), "--quiet", "--output", str(runs / "run"), "--overwrite"]
        cold = []
        for _ in range(COLD):
            shutil.rmtree(cache, ignore_errors=True)
            cold.append(time_process(train, cache))
        warm = [time_process(train, cache) for _ in range(WARM)]
        image = next((photos / "class0").iterdir())
        ask = ["predict", str(runs / "run"), str(image)]
        predict = [time_process(ask, cache) for _ in range(WARM + 4)]
        digits = measure_digits(Path(place))
    report("train_cold", {"seconds": spread(cold), "goal": "<= 20"})
    report("train_warm", {"seconds": spread(warm), "goal": "<= 2.5"})
    report("predict_one", {"seconds": spread(predict), "goal": "<= 0.5"})
    report("train_digits", digits)


def measure_digits(place: Path) -> dict[str, object]:
    """Seconds with empty caches, and the accuracy, on the digits of `make demo`."""
    digits, run, cache = place / "digits", place / "digits_run", place / "digits_cache"
    time_process(["sample", "digits", str(digits)], cache)
    seconds = []
    for _ in range(COLD):
        shutil.rmtree(cache, ignore_errors=True)
        command = ["train", str(digits), "--quiet", "--output", str(run), "--overwrite"]
        seconds.append(time_process(command, cache))
    test = json.loads((run / "metrics.json").read_text(encoding="utf-8"))["test"]
    about = {"accuracy": test["accuracy"], "pictures": test["count"]}
    return {"seconds": spread(seconds), **about, "goal": "<= 25"}


if __name__ == "__main__":
    arguments.run(main, __doc__)
