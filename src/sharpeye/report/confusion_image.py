"""Draw the confusion matrix as an image file, `confusion_matrix.png`.

Pillow draws it: the import of a plotting library takes a fifth of a training with warm caches.
"""

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from sharpeye.core import storage
from sharpeye.core.arrays import Floats, Ints, Pixels
from sharpeye.core.formatting import percent
from sharpeye.report.wording import shorten

Font = ImageFont.FreeTypeFont

_MAX_CLASSES_WITH_COUNTS = 30  # with more classes, a count no longer fits into its cell
_MAX_NAME_CHARACTERS = 24
_PADDING, _GAP, _TICK = 32, 7, 4  # pixels
_TITLE, _AXIS_NAME = 21, 18  # pixels of a line's height
_INK, _MUTED, _WHITE = "#1d2023", "#555555", "#ffffff"
# "Blues" of ColorBrewer (Harrower and Brewer 2003), from a share of 0 to one of 1.
_BLUES = ((247, 251, 255), (198, 219, 239), (107, 174, 214), (33, 113, 181), (8, 48, 107))

# Pillow's own font has the letters of English alone. Of these, which it looks for where the system
# keeps its fonts, the first that has all letters of a name draws it.
_SYSTEM_FONTS = (
    *("DejaVuSans.ttf", "NotoSans-Regular.ttf", "LiberationSans-Regular.ttf"),  # Linux
    *("segoeui.ttf", "msyh.ttc", "malgun.ttf", "Nirmala.ttc", "Nirmala.ttf"),  # Windows
    *("Arial Unicode.ttf", "Hiragino Sans GB.ttc", "AppleSDGothicNeo.ttc"),  # macOS
    *("NotoSansCJK-Regular.ttc", "wqy-microhei.ttc", "DroidSansFallbackFull.ttf"),
    *("NotoSansArabic-Regular.ttf", "NotoSansDevanagari-Regular.ttf"),
)


def draw_confusion(matrix: Ints, class_names: Sequence[str], file: Path) -> None:
    """Write a confusion matrix as a PNG file; the colour shows the square root of the row's share.

    A name that no font of this machine can draw is replaced by its line in `labels.txt`: `#7`.
    `matrix` is int[C,C], C >= 1: row = true class, column = predicted class.

    Raises:
        EnvironmentFault: the file cannot be written.
    """
    image = _draw(matrix, class_names)
    with storage.atomic_path(file) as temporary:
        image.save(temporary, "PNG")


def _draw(matrix: Ints, class_names: Sequence[str]) -> Image.Image:
    side, letters = _sizes(len(class_names))
    names = [shorten(" ".join(name.split()), _MAX_NAME_CHARACTERS) for name in class_names]
    labels = [_label(name, number, letters) for number, name in enumerate(names, 1)]
    longest = round(max(font.getlength(text) for text, font in labels))
    title, title_font = _title(matrix), _own_font(_TITLE)
    left, top = _PADDING + _AXIS_NAME + longest + 3 * _GAP, _PADDING + _TITLE + 2 * _GAP
    width = max(left + side, left + round(title_font.getlength(title))) + _PADDING
    height = top + side + longest + _AXIS_NAME + 3 * _GAP + _PADDING
    image = Image.new("RGB", (width, height), _WHITE)
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    # The root keeps a single mistake among hundreds visible.
    heat = np.sqrt(shares)
    cells = Image.fromarray(_colors(heat)).resize((side, side), Image.Resampling.NEAREST)
    image.paste(cells, (left, top))
    draw = ImageDraw.Draw(image)
    draw.text((left, _PADDING), title, _INK, title_font, anchor="la")
    _draw_names(image, labels, (left, top), side=side, longest=longest)
    if len(names) <= _MAX_CLASSES_WITH_COUNTS:
        _draw_counts(draw, matrix, heat, corner=(left, top), side=side)
    return image


def _title(matrix: Ints) -> str:
    hits, count = int(matrix.diagonal().sum()), int(matrix.sum())
    share = percent(hits / count) if count else "no images"
    # Pillow's font has no narrow space.
    return " ".join(f"{hits:,} of {count:,} right ({share})".split())


def _colors(heat: Floats) -> Pixels:
    """uint8[C,C,3] of shares 0..1, float[C,C]."""
    stops = np.linspace(0, 1, len(_BLUES))
    channels = [np.interp(heat, stops, values) for values in zip(*_BLUES, strict=True)]
    return np.stack(channels, axis=-1).round().astype(np.uint8)


def _draw_names(
    image: Image.Image,
    labels: Sequence[tuple[str, Font]],
    corner: tuple[int, int],
    *,
    side: int,
    longest: int,
) -> None:
    """The classes left of the cells and below them, and the names of the axes."""
    draw, (left, top), cell = ImageDraw.Draw(image), corner, side / len(labels)
    # A name per class if a line of text fits, else one every few classes.
    step = max(1, int(np.ceil(labels[0][1].size * 1.15 / cell)))
    for i in range(0, len(labels), step):
        label, middle = labels[i], (i + 0.5) * cell
        if step > 1:
            draw.line((left - _TICK, top + middle, left - 1, top + middle), _MUTED)
            draw.line((left + middle, top + side, left + middle, top + side + _TICK - 1), _MUTED)
        draw.text((left - _GAP, top + middle), label[0], _INK, label[1], anchor="rm")
        _draw_upwards(image, (left + middle, top + side + _GAP), label)
    axis_font = _own_font(_AXIS_NAME)
    below = top + side + longest + 2 * _GAP
    draw.text((left + side / 2, below), "predicted", _MUTED, axis_font, anchor="ma")
    place = (_PADDING + _AXIS_NAME / 2, top + side / 2)
    _draw_upwards(image, place, ("true", axis_font), color=_MUTED, is_centered=True)


def _draw_upwards(
    image: Image.Image,
    place: tuple[float, float],
    label: tuple[str, Font],
    *,
    color: str = _INK,
    is_centered: bool = False,
) -> None:
    """Text that is read from below, whose end, or centre, is at a place."""
    text, font = label
    size = (round(font.getlength(text)) + 2, round(font.size * 1.5))
    line = Image.new("L", size)
    ImageDraw.Draw(line).text((size[0] / 2, size[1] / 2), text, 255, font, anchor="mm")
    turned = line.transpose(Image.Transpose.ROTATE_90)
    x, y = place[0] - turned.width / 2, place[1] - (turned.height / 2 if is_centered else 0)
    image.paste(color, (round(x), round(y)), turned)


def _draw_counts(
    draw: ImageDraw.ImageDraw, matrix: Ints, heat: Floats, *, corner: tuple[int, int], side: int
) -> None:
    """White lines between the cells, and the number of images in each that has one."""
    (left, top), classes = corner, len(matrix)
    cell, letters = side / classes, _sizes(classes)[1]
    for i in range(1, classes):
        x, y = left + round(i * cell) - 1, top + round(i * cell) - 1
        draw.line((x, top, x, top + side), _WHITE, 2)
        draw.line((left, y, left + side, y), _WHITE, 2)
    for row, column in zip(*np.nonzero(matrix), strict=True):
        count = int(matrix[row, column])
        font = _own_font(letters if count < 1000 else letters * 0.75)
        middle = (left + (column + 0.5) * cell, top + (row + 0.5) * cell)
        color = _WHITE if heat[row, column] > 0.6 else _INK
        draw.text(middle, f"{count}", color, font, anchor="mm")


def _sizes(classes: int) -> tuple[int, float]:
    """Side of the cells together, 260 to 1,690 pixels, and size of their text in pixels."""
    cell, letters = 21, 12.5
    if classes <= _MAX_CLASSES_WITH_COUNTS:
        cell, letters = (65, 18.0) if classes <= 12 else (44, 15.5)
    return min(max(260, cell * classes), 1690), letters


# --- fonts ---------------------------------------------------------------------------------------


def _label(name: str, number: int, letters: float) -> tuple[str, Font]:
    """A name, or its number if no font has all of its letters, and the font to draw it in."""
    for font in _fonts(letters):
        if all(_has_letter(font, letter) for letter in name if not letter.isspace()):
            return name, font
    return f"#{number}", _own_font(letters)


def _fonts(letters: float) -> Iterator[Font]:
    yield _own_font(letters)
    for name in _SYSTEM_FONTS:
        font = _system_font(name, letters)
        if font is not None:
            yield font


@functools.cache
def _own_font(letters: float) -> Font:
    font = ImageFont.load_default(letters)
    if not isinstance(font, Font):  # Pillow was built without FreeType, as no wheel is.
        raise TypeError("this Pillow draws no text: it lacks FreeType")
    return font


@functools.cache
def _system_font(name: str, letters: float) -> Font | None:
    try:
        return ImageFont.truetype(name, letters)
    except OSError:  # It is not installed.
        return None


@functools.cache
def _has_letter(font: Font, letter: str) -> bool:
    """Whether a font has a letter: others are drawn as one that no font has."""
    mask, missing = font.getmask(letter), font.getmask("\uffff")
    return (mask.size, bytes(mask)) != (missing.size, bytes(missing))
