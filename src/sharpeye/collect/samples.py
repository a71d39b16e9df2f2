"""Write sample data sets as image folders, without a download.

Two consist of real images in scikit-learn and scikit-image; one is drawn here. Files are not
flushed one by one: after a power cut they can be written again; the folder itself still appears
only when complete.
"""

import importlib.util
import io
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from sharpeye.collect.shapes import SHAPES, draw_shape, voc_annotation
from sharpeye.core.arrays import Pixels
from sharpeye.core.atomic_folder import atomic_folder, require_free
from sharpeye.errors import EnvironmentFault, MissingExtra, UsageError, near_match

SHAPES_PER_CLASS = 60
_IMAGE_SUFFIXES = (".png", ".jpg")

_Files = Iterable[tuple[str, bytes]]  # each file's path in the folder, and its bytes


def list_samples() -> dict[str, str]:
    """The samples that `write_sample` knows: name -> description in one line."""
    return {name: description for name, (description, _) in _SAMPLES.items()}


def write_sample(name: str, folder: Path, *, seed: int = 0) -> int:
    """Write a sample as a folder with a subfolder for each class; returns the number of images.

    Args:
        name: a key of `list_samples()`.
        folder: the target; it does not exist yet, or is empty.
        seed: 0 or more, for drawn images. Scanned samples do not depend on it.

    Raises:
        UsageError: unknown name, negative seed, or a folder that is taken.
        MissingExtra: the package that contains the sample is not installed.
        EnvironmentFault: disk full, no permission; the folder is removed.
    """
    if name not in _SAMPLES:
        raise UsageError(f"no sample is called {name}. {near_match(name, _SAMPLES)}")
    if seed < 0:
        raise UsageError(f"`seed` must be 0 or more. Received: seed={seed}")
    target = require_free(folder)
    _, sample_files = _SAMPLES[name]
    files = sample_files(seed)
    count = 0
    with atomic_folder(target) as temporary:
        for path, data in files:
            file = temporary / path
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(data)
            count += file.suffix in _IMAGE_SUFFIXES
    return count


def _digits(seed: int) -> _Files:
    """1,797 scanned digits of 43 writers (Alpaydin and Kaynak 1998), 8 x 8 pixels."""
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise MissingExtra("scikit-learn", "samples", "the sample `digits`") from None
    digits = load_digits()
    levels = np.rint(digits.images * (255 / 16)).astype(np.uint8)  # 0..16 -> 0..255
    return (
        (f"{label}/digit-{number:04}.png", _png(image))
        for number, (image, label) in enumerate(zip(levels, digits.target, strict=True), 1)
    )


def _faces(seed: int) -> _Files:
    """100 faces and 100 pieces of background from Labeled Faces in the Wild, 25 x 25 pixels.

    The file is read from the package's own folder: `skimage.data` would search a cache, and then
    the network. A few pieces of background contain a part of a face (0026, 0031 and 0097); they
    keep the original label.
    """
    package = importlib.util.find_spec("skimage")
    if package is None or package.origin is None:
        raise MissingExtra("scikit-image", "samples", "the sample `faces`")
    file = Path(package.origin).with_name("data") / "lfw_subset.npy"
    try:
        images = np.load(file, allow_pickle=False)  # float64[200,25,25] 0..1, faces first
    except OSError as error:
        raise EnvironmentFault(
            f"cannot read {file}: {error.strerror or error}; install scikit-image from PyPI again"
        ) from None
    levels = np.rint(images * 255).clip(0, 255).astype(np.uint8)
    return (
        (f"{label}/{label}-{number:04}.png", _png(image))
        for label, images_of_class in (("face", levels[:100]), ("not-face", levels[100:]))
        for number, image in enumerate(images_of_class, 1)
    )


def _shapes(seed: int) -> _Files:
    """Drawn objects with Pascal VOC boxes; an image depends on seed, class and number alone."""
    for class_index, label in enumerate(SHAPES):
        for number in range(1, SHAPES_PER_CLASS + 1):
            drawing = draw_shape(label, np.random.default_rng([seed, class_index, number]))
            stem = f"{label}-{number:04}"
            yield f"{label}/{stem}.jpg", _jpeg(drawing.pixels)
            annotation = voc_annotation(label, f"{stem}.jpg", label, drawing=drawing)
            yield f"{label}/{stem}.xml", annotation


def _png(pixels: Pixels) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def _jpeg(pixels: Pixels) -> bytes:
    buffer = io.BytesIO()
    # In full colour resolution, because half of it blurs colours at edges.
    Image.fromarray(pixels).save(buffer, "JPEG", quality=92, subsampling=0)
    return buffer.getvalue()


_SAMPLES: dict[str, tuple[str, Callable[[int], _Files]]] = {  # the function takes the seed
    "digits": ("1,797 scanned digits in 10 classes, 8x8 grey PNG", _digits),
    "faces": ("100 faces and 100 pieces of background, 25x25 grey PNG", _faces),
    "shapes": (
        f"{len(SHAPES) * SHAPES_PER_CLASS} drawn objects in {len(SHAPES)} classes, colour JPEG "
        "with Pascal VOC boxes",
        _shapes,
    ),
}
