"""Images to measure on: drawn photographs, as large as people's."""

from pathlib import Path

import numpy as np
from PIL import Image


def write_photos(
    folder: Path, count: int, classes: int = 4, width: int = 520, seed: int = 0
) -> None:
    """Write JPEGs of about `width` x 3/4 `width` pixels, with the detail of photographs.

    520 is the size of ImageNet's images (0.2 megapixels), 330 that of flower_photos (0.08).
    """
    random = np.random.default_rng(seed)
    for i in range(count):
        label = f"class{i % classes}"
        (folder / label).mkdir(parents=True, exist_ok=True)
        w = int(width * random.uniform(0.8, 1.2))
        h = int(width * 0.75 * random.uniform(0.8, 1.2))
        image = np.zeros((h, w, 3))
        for scale in (4, 16, 64):  # noise of three grain sizes, like texture and shade
            grain = random.normal(0, 40, (h // scale + 2, w // scale + 2, 3))
            small = Image.fromarray(np.clip(grain + 128, 0, 255).astype(np.uint8))
            image += np.asarray(small.resize((w, h), Image.Resampling.BICUBIC)) / 3.0
        tint = np.array([40, 0, -40]) * (1 if i % classes % 2 else -1)
        pixels = np.clip(image + tint, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / label / f"{i:05d}.jpg", quality=85)
