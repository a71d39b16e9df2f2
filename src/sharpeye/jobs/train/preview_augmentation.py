"""Draw training images as augmentation changes them: a contact sheet."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from sharpeye.core.arrays import Floats, Pixels
from sharpeye.core.config import Config
from sharpeye.core.own_code import load_function
from sharpeye.core.progress import StageProgress
from sharpeye.core.storage import atomic_path
from sharpeye.jobs.train.load_arrays import load_arrays, resolve_from_scratch
from sharpeye.learn.nets.augmentation import Augmentation
from sharpeye.learn.nets.loop import blank_level
from sharpeye.learn.nets.own_augmentation import apply_own_function
from sharpeye.learn.nets.training_arrays import TrainingArrays

_IMAGES, _VERSIONS = 8, 7
_MIN_SIDE, _GAP = 96, 4  # pixels of a cell, and between cells
_BOX_COLOUR = (230, 60, 40)


def preview_augmentation(
    config: Config, file: Path, *, progress: StageProgress | None = None
) -> None:
    """Write a PNG: each row has a training image, and versions of it as a network would see them.

    Raises:
        UsageError: the file has no suffix `.png`, or no network would be trained on the images.
    """
    does = "shows what [augment] does to the images of"
    option = "--preview-augmentation FILE.png"
    config = resolve_from_scratch(config, file, option=option, does=does)
    _, arrays = load_arrays(config, progress)
    sheet = _draw_sheet(arrays, config)
    with atomic_path(file) as temporary:
        sheet.save(temporary, "PNG")


def _draw_sheet(arrays: TrainingArrays, config: Config) -> Image.Image:
    train = arrays.indices["train"]
    chosen = np.linspace(0, len(train) - 1, min(_IMAGES, len(train))).astype(np.int64)
    originals = np.ascontiguousarray(arrays.pixels[train[chosen]])
    boxes = arrays.boxes["train"][chosen] if arrays.boxes else None
    versions = [(originals, boxes)]
    size = (arrays.input.height, arrays.input.width)
    augmentation = Augmentation(config.augment, *size, fill=blank_level(arrays))
    random, name = np.random.default_rng(config.seed), config.augment.function
    own = load_function(name, "--augment")[0] if name else None
    for _ in range(_VERSIONS):
        pixels = originals
        if own:
            pixels = apply_own_function(own, name, pixels[None], random=random)[0]
        versions.append(_augmented(augmentation, pixels, boxes, random=random))
    zoom = -(-_MIN_SIDE // min(size))
    step = (size[0] * zoom + _GAP, size[1] * zoom + _GAP)
    sheet = Image.new("RGB", (step[1] * len(versions), step[0] * len(chosen)), "white")
    for column, (pixels, moved) in enumerate(versions):
        for row, image in enumerate(pixels):
            cell = _cell(image, None if moved is None else moved[row], zoom)
            sheet.paste(cell, (column * step[1], row * step[0]))
    return sheet


def _augmented(
    augmentation: Augmentation, pixels: Pixels, boxes: Floats | None, *, random: np.random.Generator
) -> tuple[Pixels, Floats | None]:
    draws = augmentation.draw(len(pixels), random, boxes)
    labels = np.ones((len(pixels), 1), np.float32)
    changed, _, moved = augmentation.apply(pixels.astype(np.float32), labels, draws, boxes=boxes)
    levels = np.asarray(changed).clip(0, 255).round().astype(np.uint8)
    return levels, None if moved is None else np.asarray(moved)


def _cell(pixels: Pixels, box: Floats | None, zoom: int) -> Image.Image:
    height, width = pixels.shape[:2]
    image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).convert("RGB")
    image = image.resize((width * zoom, height * zoom), Image.Resampling.NEAREST)
    if box is not None:
        edges = (box * np.tile([image.width - 1, image.height - 1], 2)).tolist()
        ImageDraw.Draw(image).rectangle(edges, outline=_BOX_COLOUR, width=2)
    return image
