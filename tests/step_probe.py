"""Takes a few steps on the backend that is set: `python step_probe.py FOLDER END.npz`.

If FOLDER does not hold them yet, the weights that the networks begin with are written there.
"""

import dataclasses
import sys
from itertools import product
from pathlib import Path

import numpy as np

from nets import SIDE, config_of, make_net, make_stretch
from sharpeye.learn.nets.augment import Augment

CHANGES = {
    "net.width": 8,  # with a batch norm
    "train.clip_norm": 1.0,
    "augment.rotate": 10,
    "augment.brightness": 10,
    "augment.noise": 5.0,
    "augment.cutout": 20,
    "augment.mixup": 0.3,
}


def main(folder: Path, end: Path) -> None:
    found = {}
    for optimizer, task in product(("sgd", "adamw"), ("classify", "localize")):
        boxes, name = task == "localize", f"{optimizer} {task}"
        changes = CHANGES | {"train.optimizer": optimizer, "task": task}
        config = config_of(changes | ({"augment.mixup": 0.0} if boxes else {}))
        model, engine = make_net(config)
        start = folder / f"start-{task}.npz"
        if not start.exists():
            np.savez(start, *[np.asarray(variable) for variable in model.variables])
        with np.load(start) as arrays:
            for variable, key in zip(model.variables, arrays.files, strict=True):
                variable.assign(arrays[key])
        augment = Augment(config.augment, SIDE, SIDE, 128.0)
        weights = np.linspace(0, 2, 8)
        stretch = make_stretch(
            steps=2, rate=0.01, augment=augment.draw, weights=weights, boxes=boxes
        )
        tally = engine.train(stretch)
        found |= {f"{name} {v.path}": np.asarray(v) for v in model.variables}
        answers = engine.predict(stretch.images[0])
        found |= {f"{name} answered {key}": value for key, value in answers.items()}
        found[f"{name} tally"] = np.array(dataclasses.astuple(tally))
    np.savez(end, **found)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
