"""Small JPEG files in several colours."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

COLOURS = {"rose": (200, 40, 60), "tulip": (230, 180, 30), "fern": (40, 140, 60)}


def jpeg(seed: int, colour: tuple[int, int, int] = (120, 120, 120), side: int = 48) -> bytes:
    """Noise around a colour; another image for each seed."""
    noise = np.random.default_rng(seed).normal(0, 30, (side, side + 8, 3))
    out = io.BytesIO()
    Image.fromarray(np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)).save(out, "JPEG")
    return out.getvalue()


def flowers(folder: Path, per_class: int = 4) -> Path:
    """One folder per class: rose1.jpg, rose2.jpg, ..."""
    for index, (name, colour) in enumerate(COLOURS.items()):
        (folder / name).mkdir(parents=True)
        for number in range(1, per_class + 1):
            data = jpeg(1000 * index + number, colour)
            (folder / name / f"{name}{number}.jpg").write_bytes(data)
    return folder
