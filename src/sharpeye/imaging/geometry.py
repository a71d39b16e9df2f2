"""The one resizer: a picture to a model's input, and the augmented views of it."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from sharpeye.imaging.decode import LIMITS, Limits, decode, read_file
from sharpeye.types import InputSpec

Pixels = npt.NDArray[np.uint8]

# Raised with every change that alters a view's pixels: caches keep it in their keys.
VIEWS_VERSION = 1

_FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}


@dataclass(frozen=True, slots=True)
class View:
    """How one augmented view differs from the picture.

    Attributes:
        flip: mirrored left to right.
        crop: (left, top, right, bottom) as shares 0..1 of width and height.
    """

    flip: bool = False
    crop: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)


PLAIN = View()


def draw_view(index: int, sha256: str) -> View:
    """The `index`-th view of the picture with this digest; the same on every machine.

    View 0 is the picture itself, view 1 its mirror image; the others are mirrored by turns and
    cropped to 60..100 % of their area with an aspect ratio within 3/4..4/3 of the original's
    (a milder form of the crops in Szegedy et al. 2015).
    """
    if index == 0:
        return PLAIN
    if index == 1:
        return View(flip=True)
    seed = hashlib.sha256(f"{VIEWS_VERSION}:{index}:{sha256}".encode()).digest()
    random = np.random.default_rng(int.from_bytes(seed[:8], "little"))
    area, ratio = random.uniform(0.6, 1.0), np.exp(random.uniform(np.log(3 / 4), np.log(4 / 3)))
    width = float(min(1.0, np.sqrt(area * ratio)))
    height = float(min(1.0, np.sqrt(area / ratio)))
    left, top = random.uniform(0, 1 - width), random.uniform(0, 1 - height)
    return View(flip=index % 2 == 1, crop=(left, top, left + width, top + height))


def fit_image(image: Image.Image, spec: InputSpec, view: View = PLAIN) -> Pixels:
    """Bring one picture to the size that `spec` asks for.

    Args:
        image: mode RGB, any size.
        spec: target size and how to reach it.
        view: crop and mirroring, applied first.

    Returns:
        uint8[spec.height, spec.width, spec.channels], 0..255.
    """
    if view.crop != PLAIN.crop:
        left, top, right, bottom = view.crop
        box = (
            round(left * image.width),
            round(top * image.height),
            max(round(right * image.width), round(left * image.width) + 1),
            max(round(bottom * image.height), round(top * image.height) + 1),
        )
        image = image.crop(box)
    size, resampling = (spec.width, spec.height), _FILTERS[spec.filter]
    if spec.fit == "stretch":
        image = image.resize(size, resampling)
    elif spec.fit == "crop":
        image = ImageOps.fit(image, size, resampling)
    else:
        image = _pad(image, size, resampling, (spec.pad_value,) * 3)
    if view.flip:
        image = ImageOps.mirror(image)
    if spec.channels == 1:
        return np.asarray(image.convert("L"))[..., None]
    return np.asarray(image)


def _pad(
    image: Image.Image,
    size: tuple[int, int],
    resampling: Image.Resampling,
    colour: tuple[int, int, int],
) -> Image.Image:
    (width, height), thin = size, None
    if image.width * height < image.height:
        thin = image.resize((1, height), resampling)
    elif image.height * width < image.width:
        thin = image.resize((width, 1), resampling)
    if thin is None:
        return ImageOps.pad(image, size, resampling, color=colour)
    # Pillow would make a picture thinner than half a pixel vanish.
    padded = Image.new(image.mode, size, colour)
    padded.paste(thin, (round((width - thin.width) / 2), round((height - thin.height) / 2)))
    return padded


def load_image(
    file: Path, name: str, spec: InputSpec, view: View = PLAIN, limits: Limits = LIMITS
) -> Pixels:
    """Read, decode and fit a picture file: the way every picture takes, here and in serving.

    Returns:
        uint8[spec.height, spec.width, spec.channels], 0..255.

    Raises:
        ImageReadError: the file is no picture, damaged, or over a limit.
    """
    return fit_image(decode(read_file(file, name, limits), name, spec, limits), spec, view)
