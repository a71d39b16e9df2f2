"""Draw the common parts of charts as inline SVG: axes, ticks, lines, marks, legends.

The functions are pure: they map numbers to a string of SVG. The page's style sheet gives the
colours.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from sharpeye.core.formatting import NBSP

# Units of the drawings, which the page scales to its width, and the margins of the plots in them.
WIDTH, LEFT, RIGHT = 440, 66, 20
_STYLE = (
    "<style>svg{background:#fff;font:13px sans-serif;fill:#333}.axis{stroke:#666}"
    ".grid{stroke:#ddd}.series polyline{fill:none;stroke:#2a6fb0;stroke-width:2}"
    ".turn{stroke:#b04a2a;stroke-width:1.5;stroke-dasharray:4 4}</style>"
)
Scale = Callable[[float], float]
Format = Callable[[float], str]
Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Axis:
    """A scale, from a value to its coordinate, with its ticks and its name (escaped)."""

    scale: Scale
    ticks: Sequence[float]
    text: Format
    name: str

    def __call__(self, value: float) -> float:
        return self.scale(value)


def chart(label: str, bottom: float, *parts: str) -> str:
    """A drawing whose lowest axis lies at `bottom`; `label` is the text for screen readers."""
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {bottom + 50}" role="img"'
        f' aria-label="{escape(label)}">{"".join(parts)}</svg>'
    )


def document(drawing: str) -> str:
    """A drawing of `chart` as an SVG file, which has the colours of a page in light."""
    begin = '<svg xmlns="http://www.w3.org/2000/svg" '
    return f"{drawing.replace('<svg ', begin, 1).replace('>', f'>{_STYLE}', 1)}\n"


def x_axis(x: Axis, bottom: float) -> str:
    """The numbers of a horizontal axis, and its name under them."""
    numbers = "".join(
        f'<text x="{x(v):.1f}" y="{bottom + 19:.1f}" text-anchor="middle">{x.text(v)}</text>'
        for v in x.ticks
    )
    at = f'x="{(LEFT + WIDTH - RIGHT) / 2}" y="{bottom + 42}"'
    return f'{numbers}<text class="name" {at} text-anchor="middle">{x.name}</text>'


def y_axis(y: Axis) -> str:
    """A line at each tick, the lowest one as the axis, with numbers and the name on the left."""
    lines = "".join(
        f'<line class="{"axis" if v == y.ticks[0] else "grid"}" x1="{LEFT}" x2="{WIDTH - RIGHT}"'
        f' y1="{y(v):.1f}" y2="{y(v):.1f}"/>'
        f'<text x="{LEFT - 8}" y="{y(v) + 4:.1f}" text-anchor="end">{y.text(v)}</text>'
        for v in y.ticks
    )
    middle = (y(y.ticks[0]) + y(y.ticks[-1])) / 2
    return (
        f'{lines}<text class="name" text-anchor="middle"'
        f' transform="translate(11 {middle:.0f}) rotate(-90)">{y.name}</text>'
    )


def series(style: str, points: Sequence[Point], shape: str = "") -> str:
    """A line in the class of its colour, with a mark on each point if `shape` names one."""
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    marks = "".join(mark(shape, x, y) for x, y in points) if shape else ""
    return f'<g class="series {style}"><polyline points="{path}"/>{marks}</g>'


def marker(style: str, shape: str, x: float, *, y: float) -> str:
    """A single mark in the class of its colour."""
    return f'<g class="series {style}">{mark(shape, x, y)}</g>'


def mark(shape: str, x: float, y: float) -> str:
    """A "circle", a "diamond" or a "square" of about 9 units."""
    if shape == "circle":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.5"/>'
    if shape == "diamond":
        return f'<path d="M{x:.1f} {y - 6:.1f}l6 6l-6 6l-6-6z"/>'
    return f'<path d="M{x - 4.5:.1f} {y - 4.5:.1f}h9v9h-9z"/>'


def ring(x: float, y: float) -> str:
    """The ring around the best point."""
    return f'<circle class="best" cx="{x:.1f}" cy="{y:.1f}" r="9"/>'


def upright(x: float, top: float, bottom: float, *, title: str = "") -> str:
    """A dotted vertical line; `title` is its tooltip."""
    inner = f"<title>{escape(title)}</title>" if title else ""
    return f'<line class="turn" x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{bottom}">{inner}</line>'


def titled(title: str, content: str, style: str = "") -> str:
    """A group with a tooltip."""
    attribute = f' class="{style}"' if style else ""
    return f"<g{attribute}><title>{escape(title)}</title>{content}</g>"


def bar(style: str, left: float, width: float, *, top: float, height: float) -> str:
    """An upright bar with rounded corners."""
    area = f'x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" height="{height:.1f}"'
    return f'<rect class="{style}" {area} rx="2"/>'


def small_text(x: float, y: float, text: str, *, anchor: str = "start") -> str:
    """A note in the plot; `anchor` is "start", "middle" or "end"."""
    return f'<text class="small" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{text}</text>'


def clipped(content: str, top: float, bottom: float) -> str:
    """The part of `content` inside a plot; a nested svg cuts off the rest."""
    left, width, height = LEFT, WIDTH - RIGHT - LEFT, bottom - top
    area = f'x="{left}" y="{top}" width="{width}" height="{height}"'
    return f'<svg {area} viewBox="{left} {top} {width} {height}">{content}</svg>'


def legend(entries: Sequence[tuple[str, str, str]], ringed: str = "", *, lines: bool = True) -> str:
    """A row above the plots that names each series, and then the ring.

    `entries` are style, shape of the marks or "", and name; `lines` is off for marks alone.
    """
    parts, left, width = [], float(LEFT), 28 if lines else 0
    for style, shape, name in entries:
        ends = [(left + 3, 14.0), (left + 3 + width, 14.0)]
        sample = series(style, ends, shape) if lines else marker(style, shape, left + 5, y=14)
        parts.append(f'{sample}<text x="{left + width + 15:.1f}" y="18">{escape(name)}</text>')
        left += width + 36 + 7 * len(name)
    if ringed:
        parts.append(f'{ring(left + 9, 14)}<text x="{left + 25:.1f}" y="18">{ringed}</text>')
    return "".join(parts)


def linear(low: float, high: float, start: float, *, end: float) -> Scale:
    """The linear scale from low..high to start..end."""
    return lambda value: start + (end - start) * (value - low) / (high - low)


def logarithmic(low: float, high: float, start: float, *, end: float) -> Scale:
    """The logarithmic scale from low..high, both > 0, to start..end."""
    scale = linear(math.log10(low), math.log10(high), start, end=end)
    return lambda value: scale(math.log10(value))


def round_ticks(
    low: float, high: float, min_span: float = 0.02, *, multiples: Sequence[float] = (1, 2, 2.5, 5)
) -> list[float]:
    """Two to seven round values that enclose low..high.

    Args:
        min_span: the smallest span of the ticks, for values that hardly differ.
        multiples: allowed steps as multiples of a power of ten, ascending from 1.
    """
    span = max(high - low, min_span, 0.02 * abs(high))
    min_step = span / 4
    magnitude = 10.0 ** math.floor(math.log10(min_step))
    step = next(m for m in (*multiples, 10) if m * magnitude >= min_step) * magnitude
    first, last = math.floor(low / step), math.ceil(high / step)
    return [step * i for i in range(first, max(last, first + 1) + 1)]


def count_ticks(low: float, high: float) -> list[float]:
    """Round whole values that enclose low..high, for images, steps, epochs or ranks."""
    return round_ticks(low, high, 4, multiples=(1, 2, 5))


def score_ticks(low: float, high: float, *, share: bool) -> list[float]:
    """Round values that enclose scores low..high, >= 0: shares (<= 1), or else log losses.

    The ticks around a constant put it in the centre, not on the axis.
    """
    min_span = 0.04 if share else 0.02
    padding = max(0.0, min_span - (high - low)) / 2
    low, high = max(0.0, low - padding), high + padding
    return round_ticks(low, min(1.0, high) if share else high, min_span)


def share_text(value: float) -> str:
    """The label of a tick on a scale of shares, with the necessary digits: "97.5 %"."""
    return f"{100 * value:.4g}{NBSP}%"


def count_text(max_value: float) -> Format:
    """The format of ticks up to `max_value`: "2,500", or "25k" for large values."""
    if max_value < 10_000:
        return "{:,.0f}".format
    return lambda value: f"{value / 1000:,g}k" if value else "0"
