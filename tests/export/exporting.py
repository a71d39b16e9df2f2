"""What the tests of exports share: a run's images, and a comparison with its model."""

from pathlib import Path
from typing import Any

import numpy as np

from sharpeye.artefact.session import OpenModel, open_model
from sharpeye.core.arrays import Pixels
from sharpeye.images.resize import load_image


def images_of(run: Path) -> list[Path]:
    """The images that `trained` was trained on, in order."""
    return sorted((run.parent / "hard").rglob("*.png"))


def fitted_images(run: Path, count: int = 7) -> Pixels:
    """uint8[count,height,width,channels] of all classes, as the model takes them."""
    spec = open_model(run).manifest.input
    return np.stack([load_image(file, file.name, spec) for file in images_of(run)[::5][:count]])


def assert_same_probs(model: OpenModel | Path, predict: Any, pixels: Pixels) -> None:
    """Fail unless a function gives the model's probabilities, for one image and for many."""
    opened = model if isinstance(model, OpenModel) else open_model(model)
    for batch in (pixels[:1], pixels):
        expected, probs = opened.run(batch)["probs"], predict(batch)
        assert probs.shape == expected.shape
        assert np.abs(probs - expected).max() <= 1e-3
        assert (probs.argmax(1) == expected.argmax(1)).all()
    assert np.ptp(opened.run(pixels)["probs"], axis=0).max() > 0.05  # images differ
