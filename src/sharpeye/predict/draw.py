"""Draws answers on images: the box, the class and its score, at the image's own size."""

from collections.abc import Iterable
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from sharpeye.core.storage import atomic_path, make_folder
from sharpeye.core.types import Prediction
from sharpeye.images.decode import decode, read_file
from sharpeye.predict.output_paths import OutputPaths
from sharpeye.predict.writers import show

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

_JPEG_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif")
# On black, this yellow stands out from any photograph, for the colour-blind too (15 : 1).
_COLOUR, _GROUND = (255, 200, 0), (0, 0, 0)
_MIN_FONT, _MAX_CHARACTERS = 6, 60


class Drawings:
    """Writes each image with its answer drawn on it: a JPEG as JPEG, any other as PNG."""

    def __init__(self, folder: Path, sources: Iterable[Path], *, overwrite: bool = False) -> None:
        self.places = OutputPaths(folder, sources, overwrite=overwrite)

    def suffix(self, image: Path) -> str:
        """That of a drawing."""
        return drawing_suffix(image)

    def write(self, answer: Prediction, file: Path, target: Path) -> None:
        """Read the image again, whole, and write it upright with its answer.

        Raises:
            ImageReadError: it cannot be read any more.
            EnvironmentFault: the drawing cannot be written.
        """
        name = answer.path or str(file)
        image = draw_answer(decode(read_file(file, name), name), answer)
        save_drawing(image, target)


def drawing_suffix(image: Path) -> str:
    """That of a JPEG as it is; `.png` for any other."""
    return image.suffix if image.suffix.casefold() in _JPEG_SUFFIXES else ".png"


def save_drawing(image: Image.Image, target: Path) -> None:
    """Write a drawing, whole or not at all, as what its suffix says.

    Raises:
        EnvironmentFault: it cannot be written.
    """
    make_folder(target.parent)
    with atomic_path(target) as temporary:
        if target.suffix == ".png":
            image.save(temporary, "PNG")
        else:
            # Colours at full resolution: the frame's edges stay sharp.
            image.save(temporary, "JPEG", quality=95, subsampling=0)


def draw_answer(image: Image.Image, answer: Prediction) -> Image.Image:
    """A copy of an image with its answer on it.

    Args:
        image: mode RGB, upright, of the size that `answer.box` is in.
        answer: without a box, the words are in the upper left corner.
    """
    drawn = Image.new("RGB", image.size)
    drawn.paste(image)
    pen, short = ImageDraw.Draw(drawn), min(image.size)
    line = max(1, round(short / 140))
    if answer.box is not None:
        _frame(pen, answer.box, image.size, line)
    text = f"{_shorten(show(answer.label))} {answer.score:.0%}"
    _words(pen, text, image.size, answer.box, line)
    return drawn


def _frame(
    pen: ImageDraw.ImageDraw,
    box: tuple[float, float, float, float],
    size: tuple[int, int],
    line: int,
) -> None:
    """A frame along the inside of the box's edges, with a dark seam on either side."""
    # Edges lie between pixels: the last pixel inside is one before the far edge.
    left = min(max(round(box[0]), 0), size[0] - 1)
    top = min(max(round(box[1]), 0), size[1] - 1)
    right = min(max(round(box[2]) - 1, left), size[0] - 1)
    bottom = min(max(round(box[3]) - 1, top), size[1] - 1)
    seam = max(1, line // 3)
    for inset, width, colour in ((-seam, line + 2 * seam, _GROUND), (0, line, _COLOUR)):
        corners = (left + inset, top + inset, right - inset, bottom - inset)
        pen.rectangle(corners, outline=colour, width=width)


def _words(
    pen: ImageDraw.ImageDraw,
    text: str,
    size: tuple[int, int],
    box: tuple[float, float, float, float] | None,
    line: int,
) -> None:
    """A line of text on a plate: above the box where there is room, else inside; always whole."""
    font, (width, height) = _fitting(pen, text, size, line)
    left, top = (0.0, 0.0) if box is None else (box[0], box[1] - height - line)
    if top < 0 and box is not None:
        top = box[1] + line
    left = round(max(0, min(left, size[0] - width)))
    top = round(max(0, min(top, size[1] - height)))
    pen.rectangle((left, top, left + width - 1, top + height - 1), fill=_GROUND)
    pen.text((left + width / 2, top + height / 2), text, _COLOUR, font, anchor="mm")


def _fitting(
    pen: ImageDraw.ImageDraw, text: str, size: tuple[int, int], line: int
) -> tuple[Font, tuple[int, int]]:
    """The font, a 20th of the image's shorter side high, or less so that the words fit; and
    width and height of their plate.
    """
    points = max(11, round(min(size) / 20))
    while True:
        font = ImageFont.load_default(points)
        width = round(pen.textlength(text, font)) + 2 * max(line, 2)
        if width <= size[0] or points <= _MIN_FONT:
            return font, (min(width, size[0]), min(round(points * 1.35) + 2, size[1]))
        points = max(_MIN_FONT, min(points - 1, int(points * size[0] / width)))


def _shorten(label: str) -> str:
    return label if len(label) <= _MAX_CHARACTERS else label[: _MAX_CHARACTERS - 1] + "…"
