"""Whole processes: train on 141 images with empty and with warm caches, predict one image."""

import shutil
import tempfile
from pathlib import Path

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
    report("train_cold", {"seconds": spread(cold), "goal": "<= 20"})
    report("train_warm", {"seconds": spread(warm), "goal": "<= 4"})
    report("predict_one", {"seconds": spread(predict), "goal": "<= 0.5"})


if __name__ == "__main__":
    main()
