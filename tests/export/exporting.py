"""What the tests of exports share: a run's images, and answers by SharpEye itself."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sharpeye.artefact.session import OpenModel, open_model
from sharpeye.images.resize import load_image

Pixels = npt.NDArray[np.uint8]


def images_of(run: Path) -> list[Path]:
    """The images that `trained` was made from, in order."""
    return sorted((run.parent / "hard").rglob("*.png"))


def fitted(run: Path, count: int = 7) -> Pixels:
    """uint8[count,height,width,channels] of all classes, as the model takes them."""
    spec = open_model(run).manifest.input
    return np.stack([load_image(file, file.name, spec) for file in images_of(run)[::5][:count]])


def same_answers(model: OpenModel | Path, answer: Any, pixels: Pixels, limit: float = 1e-3) -> None:
    """Fail unless a function says the same as a model of ours, of one image and of many."""
    opened = model if isinstance(model, OpenModel) else open_model(model)
    for batch in (pixels[:1], pixels):
        expected, found = opened.run(batch)["probs"], answer(batch)
        assert found.shape == expected.shape
        assert np.abs(found - expected).max() <= limit
        assert (found.argmax(1) == expected.argmax(1)).all()
    assert np.ptp(opened.run(pixels)["probs"], axis=0).max() > 0.05  # they do differ
