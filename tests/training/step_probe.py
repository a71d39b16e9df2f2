"""Takes a few steps on the backend that is set: `python step_probe.py START.npz END.npz`.

If there is no START yet, the weights that the network begins with are written there.
"""

import sys
from pathlib import Path

import numpy as np
from nets import SIDE, config_of, make_net, make_stretch

from sharpeye.training.augment import Augment

CHANGES = {
    "net.width": 8,  # with a batch norm
    "train.clip_norm": 1.0,
    "augment.rotate": 10,
    "augment.brightness": 10,
    "augment.noise": 5.0,
    "augment.cutout": 20,
    "augment.mixup": 0.3,
}


def main(start: Path, end: Path) -> None:
    found = {}
    for optimizer in ("sgd", "adamw"):
        config = config_of(CHANGES | {"train.optimizer": optimizer})
        model, engine = make_net(config)
        if not start.exists():
            np.savez(start, *[np.asarray(variable) for variable in model.variables])
        with np.load(start) as arrays:
            for variable, name in zip(model.variables, arrays.files, strict=True):
                variable.assign(arrays[name])
        augment = Augment(config.augment, SIDE, SIDE, 128.0)
        stretch = make_stretch(
            steps=2, rate=0.01, augment=augment.draw, weights=np.linspace(0, 2, 8)
        )
        tally = engine.learn(stretch)
        found |= {f"{optimizer} {v.path}": np.asarray(v) for v in model.variables}
        found[f"{optimizer} answers"] = engine.answer(stretch.images[0])
        found[f"{optimizer} tally"] = np.array([tally.loss, tally.log_loss, tally.hits])
    np.savez(end, **found)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
