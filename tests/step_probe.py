"""Takes a few steps on the backend that is set: `python step_probe.py FOLDER RESULT.npz`.

The initial weights are read from FOLDER; the first run writes them there.
"""

import dataclasses
import sys
from itertools import product
from pathlib import Path

import numpy as np

from nets import SIDE, make_model_and_engine, make_step_batches, tiny_config
from sharpeye.learn.nets.augmentation import Augmentation

CHANGES = {
    "net.width": 8,  # with a batch norm
    "train.clip_norm": 1.0,
    "train.ema": 0.5,
    "augment.rotate": 10,
    "augment.brightness": 10,
    "augment.noise": 5.0,
    "augment.cutout": 20,
    "augment.mixup": 0.3,
}


def main(folder: Path, result: Path) -> None:
    arrays = {}
    for optimizer, task in product(("sgd", "adamw"), ("classify", "localize")):
        boxes, name = task == "localize", f"{optimizer} {task}"
        changes = CHANGES | {"train.optimizer": optimizer, "task": task}
        config = tiny_config(changes | ({"augment.mixup": 0.0} if boxes else {}))
        model, engine = make_model_and_engine(config)
        start = folder / f"start-{task}.npz"
        if not start.exists():
            np.savez(start, *[np.asarray(variable) for variable in model.variables])
        with np.load(start) as weights:
            for variable, key in zip(model.variables, weights.files, strict=True):
                variable.assign(weights[key])
        floats = [v for v in model.variables if "float" in str(v.dtype)]
        for average, variable in zip(engine._averages, floats, strict=True):
            average.assign(variable)
        augmentation = Augmentation(config.augment, SIDE, SIDE, fill=128.0)
        batches = make_step_batches(
            steps=9, augment=augmentation.draw, weights=np.linspace(0, 2, 8), boxes=boxes
        )
        totals = engine.train(batches)
        arrays |= {f"{name} {v.path}": np.asarray(v) for v in model.variables}
        outputs = engine.predict(batches.images[0])
        arrays |= {f"{name} output {key}": value for key, value in outputs.items()}
        arrays[f"{name} totals"] = np.array(dataclasses.astuple(totals))
    np.savez(result, **arrays)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
