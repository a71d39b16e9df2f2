"""A localizer's boxes on the report: over thumbnails, and how well they overlap as a chart."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sharpeye.core.types import Box, InputSpec
from sharpeye.images.boxes import to_input
from sharpeye.report import charts
from sharpeye.report.charts import LEFT, RIGHT, WIDTH
from sharpeye.report.evaluation import LOOSE, ScoredPrediction
from sharpeye.report.wording import plural

_BINS = 10


@dataclass(frozen=True, slots=True)
class Rectangle:
    """A box over a thumbnail, in pixels of the square that the thumbnail lies in the middle of.

    Attributes:
        kind: "true" or "said", which the style sheet knows.
        x, y: upper left corner.
        width, height: at least a pixel, so that a box without area is seen.
    """

    kind: str
    x: float
    y: float
    width: float
    height: float


def rectangles(
    answer: ScoredPrediction, size: tuple[int, int], square: InputSpec
) -> tuple[Rectangle, ...]:
    """The boxes of a localizer's answer, the true one first; none of a classifier's.

    Args:
        size: width and height of the upright image, or in their proportion.
        square: how the page brings the image to the thumbnail's place.
    """
    if answer.box is None:
        return ()
    boxes = (("true", answer.sample.box), ("said", answer.box))
    return tuple(_rectangle(kind, box, size, square) for kind, box in boxes if box is not None)


def _rectangle(kind: str, box: Box, size: tuple[int, int], square: InputSpec) -> Rectangle:
    left, top, right, bottom = to_input(box, size, square)
    return Rectangle(
        kind,
        round(left * square.width, 1),
        round(top * square.height, 1),
        round(max(1.0, (right - left) * square.width), 1),
        round(max(1.0, (bottom - top) * square.height), 1),
    )


def overlap_chart(overlaps: npt.NDArray[np.floating[Any]]) -> str:
    """How many images have which overlap of true and predicted box, as bars; loose ones differ.

    Args:
        overlaps: float[N], 0..1, N >= 1.
    """
    top, bottom = 34, 230
    counts = np.histogram(overlaps, bins=_BINS, range=(0.0, 1.0))[0].tolist()
    x = charts.linear(0, 1, LEFT, WIDTH - RIGHT)
    ticks = _whole_ticks(max(counts))
    y = charts.linear(0, ticks[-1], bottom, top)
    fifths = [v / 5 for v in range(6)]
    parts = [
        charts.rulings(y, ticks, charts.count_text(ticks[-1])),
        charts.numbers_x(x, fifths, "{:.1f}".format, bottom),
    ]
    for b, count in enumerate(counts):
        low, high = b / _BINS, (b + 1) / _BINS
        style = "bar loose" if high <= LOOSE else "bar"
        words = f"{plural(count, 'picture')} with an IoU of {low:.1f} to {high:.1f}"
        parts.append(
            f'<g><title>{words}</title><rect class="{style}" x="{x(low) + 1.5:.1f}"'
            f' y="{y(count):.1f}" width="{x(high) - x(low) - 3:.1f}"'
            f' height="{bottom - y(count):.1f}" rx="2"/>{_count(count, x((low + high) / 2), y)}</g>'
        )
    parts.append(
        f'<line class="turn" x1="{x(LOOSE):.1f}" x2="{x(LOOSE):.1f}" y1="{top - 8}" y2="{bottom}"/>'
        f'<text class="small" x="{x(LOOSE) - 6:.1f}" y="{top - 12}" text-anchor="end">loose</text>'
        f'<text class="small" x="{x(LOOSE) + 6:.1f}" y="{top - 12}">found</text>'
    )
    parts.append(charts.name_x("overlap of true and predicted box (IoU)", bottom))
    parts.append(charts.name_y("pictures", top, bottom))
    return charts.svg("Pictures by the overlap of their true and predicted box", bottom + 50, parts)


def _count(count: int, middle: float, y: charts.Scale) -> str:
    if not count:
        return ""
    return (
        f'<text class="small" x="{middle:.1f}" y="{y(count) - 5:.1f}"'
        f' text-anchor="middle">{count:,}</text>'
    )


def _whole_ticks(most: int) -> Sequence[float]:
    """Round whole numbers from 0 to `most` or above."""
    return [tick for tick in charts.nice(0, most, 4, (1, 2, 5)) if tick == round(tick)]
