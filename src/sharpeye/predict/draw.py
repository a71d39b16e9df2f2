"""Draw predictions on images: the box, the class and its score, at the image's own size."""

from PIL import Image, ImageDraw, ImageFont

from sharpeye.core.formatting import plain_percent
from sharpeye.core.terminal import show
from sharpeye.core.types import Prediction

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
PixelBox = tuple[float, float, float, float]  # xmin, ymin, xmax, ymax

# This yellow on black is visible on any photograph, also for the colour-blind (contrast 15 : 1).
_COLOUR, _BACKGROUND = (255, 200, 0), (0, 0, 0)
_MIN_FONT_POINTS, _MAX_LABEL_CHARACTERS = 6, 60


def draw_prediction(image: Image.Image, prediction: Prediction) -> Image.Image:
    """A copy of an image with its prediction on it.

    Args:
        image: mode RGB, upright, of the size that `prediction.box` refers to.
        prediction: without a box, the text goes to the upper left corner.
    """
    drawing = Image.new("RGB", image.size)  # not a copy: it would keep the file's metadata
    drawing.paste(image)
    canvas = ImageDraw.Draw(drawing)
    if prediction.box is not None:
        _draw_frame(canvas, prediction.box, image.size)
    label = show(prediction.label)
    if len(label) > _MAX_LABEL_CHARACTERS:
        label = label[: _MAX_LABEL_CHARACTERS - 1] + "…"
    _draw_text(
        canvas, f"{label} {plain_percent(prediction.score, 0)}", image.size, box=prediction.box
    )
    return drawing


def _line_width(size: tuple[int, int]) -> int:
    return max(1, round(min(size) / 140))


def _draw_frame(canvas: ImageDraw.ImageDraw, box: PixelBox, size: tuple[int, int]) -> None:
    """A frame along the inside of the box's edges, with a dark border on either side."""
    # Edges lie between pixels: the last pixel inside is one before the far edge.
    left = min(max(round(box[0]), 0), size[0] - 1)
    top = min(max(round(box[1]), 0), size[1] - 1)
    right = min(max(round(box[2]) - 1, left), size[0] - 1)
    bottom = min(max(round(box[3]) - 1, top), size[1] - 1)
    line_width = _line_width(size)
    border = max(1, line_width // 3)
    for inset, width, colour in (
        (-border, line_width + 2 * border, _BACKGROUND),
        (0, line_width, _COLOUR),
    ):
        corners = (left + inset, top + inset, right - inset, bottom - inset)
        canvas.rectangle(corners, outline=colour, width=width)


def _draw_text(
    canvas: ImageDraw.ImageDraw, text: str, size: tuple[int, int], *, box: PixelBox | None
) -> None:
    """A line of text on a dark background: above the box if there is space, else inside."""
    line_width = _line_width(size)
    font, (width, height) = _fit_font(canvas, text, size)
    left, top = (0.0, 0.0) if box is None else (box[0], box[1] - height - line_width)
    if top < 0 and box is not None:
        top = box[1] + line_width
    left = round(max(0, min(left, size[0] - width)))
    top = round(max(0, min(top, size[1] - height)))
    canvas.rectangle((left, top, left + width - 1, top + height - 1), fill=_BACKGROUND)
    canvas.text((left + width / 2, top + height / 2), text, _COLOUR, font, anchor="mm")


def _fit_font(
    canvas: ImageDraw.ImageDraw, text: str, size: tuple[int, int]
) -> tuple[Font, tuple[int, int]]:
    """A font of a 20th of the shorter side, or smaller to fit; and the background's size."""
    points = max(11, round(min(size) / 20))
    while True:
        font = ImageFont.load_default(points)
        width = round(canvas.textlength(text, font)) + 2 * max(_line_width(size), 2)
        if width <= size[0] or points <= _MIN_FONT_POINTS:
            return font, (min(width, size[0]), min(round(points * 1.35) + 2, size[1]))
        points = max(_MIN_FONT_POINTS, min(points - 1, int(points * size[0] / width)))
