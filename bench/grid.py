"""The grid of 27 of a dogs-vs-cats tutorial: `sharpeye sweep` beside a plain loop over Keras fits.

    python -m bench.grid DIR

DIR holds Fashion-MNIST; 2,000 T-shirts and shirts of it, which are hard to tell apart, are made 50
pixels wide and grey. Both see the same training and validation images, run up to ten epochs and
choose their winner by validation loss. The winners are then judged by the 2,000 test images of
the two classes, which neither has seen: two winners differ by chance by a point of the validation
images, as these are 600. `sharpeye sweep` trains its winner once more within its time.
"""

import csv
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bench import arguments
from bench.measure import report, time_process
from sharpeye.data.image_folder import scan_folder
from sharpeye.data.sample_image import read_image

EACH, EPOCHS, SIDE = 1000, 10, 50
CLASSES = ("T-shirt/top", "Shirt")
GRID = {"conv_layers": (1, 2, 3), "layer_size": (32, 64, 128), "dense_layers": (0, 1, 2)}


def main(data: Path, table: Path | None) -> None:
    if table:
        plain_keras(data, table)
        return
    with tempfile.TemporaryDirectory() as place:
        photos, sweep = Path(place) / "photos", Path(place) / "sweep"
        write_images(data, photos)
        grid = [f"{key}={','.join(map(str, values))}" for key, values in GRID.items()]
        arguments = ["sweep", str(photos), "--config", "catsdogs-2019", "--retrain", "--quiet"]
        arguments += ["--grid", *grid]
        seconds = time_process([*arguments, "--output", str(sweep)], Path(place) / "cache")
        ours = rows(sweep / "leaderboard.csv")
        ours_tested = json.loads((sweep / "best" / "metrics.json").read_text("utf-8"))["test"]
        table = Path(place) / "keras.csv"
        started = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "bench.grid", str(photos), str(table)],
            env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"},
            check=True,
        )
        keras_seconds = time.perf_counter() - started
        # Only its winner would be tested.
        keras_seconds -= sum(float(row["test_seconds"]) for row in rows(table))
        theirs = sorted(rows(table), key=lambda row: float(row["validation_log_loss"]))
    by_name = {row["name"]: row for row in theirs}
    winner, best = by_name[ours[0]["name"]], theirs[0]
    report(
        "grid_of_27",
        {
            "ratio": {"median": round(seconds / keras_seconds, 3), "n": 1},
            "goal": "<= 0.333",
            "seconds": {"sharpeye": round(seconds, 1), "keras": round(keras_seconds, 1)},
            "winner": {"sharpeye": ours[0]["name"], "keras": best["name"]},
            "test_accuracy": {
                "sharpeye": ours_tested["accuracy"],
                "keras": float(best["test_accuracy"]),
                "our_settings_under_keras": float(winner["test_accuracy"]),
                "pictures": ours_tested["count"],
            },
            "validation_accuracy_under_keras": {
                "of_our_winner": float(winner["validation_accuracy"]),
                "of_its_winner": float(best["validation_accuracy"]),
            },
            "rank_of_our_winner_under_keras": theirs.index(winner) + 1,
            "epochs_run": sum(int(row["epochs"]) for row in ours),
        },
    )


def rows(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as opened:
        return list(csv.DictReader(opened))


def write_images(data: Path, photos: Path) -> None:
    """1,000 training images of each class as PNG: 70 % train, the rest val; all test images."""
    selected: Counter[tuple[str, str | None]] = Counter()
    for sample in scan_folder(data):
        number = selected[sample.label, sample.split]
        if sample.label not in CLASSES or (sample.split == "train" and number >= EACH):
            continue
        selected[sample.label, sample.split] += 1
        part = "test" if sample.split == "test" else "train" if number < 0.7 * EACH else "val"
        folder = photos / part / sample.label.replace("/", "-")
        folder.mkdir(parents=True, exist_ok=True)
        image = read_image(sample).convert("L").resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        image.save(folder / f"{number:04}.png")


def plain_keras(photos: Path, table: Path) -> None:
    """27 fits, one after the other, as the tutorial wrote them."""
    import keras
    from keras import layers

    def load(part: str) -> tuple[Any, Any]:
        files = sorted((photos / part).rglob("*.png"))
        pixels = np.stack([np.asarray(Image.open(file))[..., None] for file in files]) / 255.0
        return pixels, np.array([file.parent.name == "T-shirt-top" for file in files], np.float32)

    (x, y), validation, test = load("train"), load("val"), load("test")
    order = np.random.default_rng(0).permutation(len(x))
    with table.open("w", newline="") as opened:
        writer = csv.writer(opened)
        columns = ("name", "validation_log_loss", "validation_accuracy", "test_accuracy")
        writer.writerow((*columns, "test_seconds"))
        for dense, size, conv in itertools.product(
            GRID["dense_layers"], GRID["layer_size"], GRID["conv_layers"]
        ):
            keras.utils.set_random_seed(0)
            stack: list[Any] = [keras.Input(x.shape[1:])]
            for _ in range(conv):
                stack += [layers.Conv2D(size, 3, activation="relu"), layers.MaxPooling2D()]
            stack += [layers.Flatten()]
            stack += [layers.Dense(size, activation="relu") for _ in range(dense)]
            model = keras.Sequential([*stack, layers.Dense(1, activation="sigmoid")])
            model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
            history = model.fit(
                x[order],
                y[order],
                batch_size=32,
                epochs=EPOCHS,
                validation_data=validation,
                callbacks=[
                    keras.callbacks.EarlyStopping(patience=EPOCHS, restore_best_weights=True)
                ],
                verbose=0,
            ).history
            best = int(np.argmin(history["val_loss"]))
            name = f"{conv}-conv-{size}-nodes-{dense}-dense"
            scores = history["val_loss"][best], history["val_accuracy"][best]
            started = time.perf_counter()
            tested = model.evaluate(*test, verbose=0)[1]
            writer.writerow((name, *scores, tested, time.perf_counter() - started))


if __name__ == "__main__":
    table = {"type": Path, "nargs": "?", "help": "the Keras fits alone, of images in DATA"}
    arguments.run(main, __doc__, data={"type": arguments.folder}, table=table)
