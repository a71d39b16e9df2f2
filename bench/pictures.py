"""Pictures to measure on: drawn photographs, as large as people's."""

from pathlib import Path

import numpy as np
from PIL import Image


def write_photos(folder: Path, count: int, classes: int = 4, seed: int = 0) -> None:
    """Write JPEGs of about 500 x 400 pixels, with the detail of photographs (about 60 kB each)."""
    random = np.random.default_rng(seed)
    for i in range(count):
        label = f"class{i % classes}"
        (folder / label).mkdir(parents=True, exist_ok=True)
        width, height = int(random.integers(400, 640)), int(random.integers(320, 480))
        picture = np.zeros((height, width, 3))
        for scale in (4, 16, 64):  # noise of three grain sizes, like texture and shade
            grain = random.normal(0, 40, (height // scale + 2, width // scale + 2, 3))
            small = Image.fromarray(np.clip(grain + 128, 0, 255).astype(np.uint8))
            picture += np.asarray(small.resize((width, height), Image.Resampling.BICUBIC)) / 3.0
        tint = np.array([40, 0, -40]) * (1 if i % classes % 2 else -1)
        pixels = np.clip(picture + tint, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / label / f"{i:05d}.jpg", quality=85)
