"""Draw the confusion matrix as an image file, `confusion_matrix.png`."""

import contextlib
import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sharpeye.core import storage
from sharpeye.core.arrays import Ints
from sharpeye.core.formatting import percent
from sharpeye.errors import MissingExtra
from sharpeye.report.wording import shorten

_MAX_CLASSES_WITH_COUNTS = 30  # with more classes, a count no longer fits into its cell
_MAX_NAME_CHARACTERS = 24

# Fonts for scripts that Matplotlib's own font lacks; missing fonts are skipped.
_WIDE_FONTS = (
    "Noto Sans CJK JP",
    "Noto Sans CJK SC",
    "Microsoft YaHei",
    "Hiragino Sans",
    "Noto Sans Arabic",
    "Noto Sans Devanagari",
    "Arial Unicode MS",
)


def draw_confusion(matrix: Ints, class_names: Sequence[str], file: Path) -> None:
    """Write a confusion matrix as a PNG file; the colour shows the square root of the row's share.

    `matrix` is int[C,C], C >= 1: row = true class, column = predicted class.

    Raises:
        MissingExtra: matplotlib is not installed.
        EnvironmentFault: the file cannot be written.
    """
    with _default_matplotlib():
        _draw(matrix, class_names, file)


@contextlib.contextmanager
def _default_matplotlib() -> Iterator[None]:
    """Matplotlib without the user's settings: a style, a `matplotlibrc` of the current folder.

    `MPLBACKEND` may name the drawing surface of a notebook, which this Python lacks.
    """
    backend = os.environ.pop("MPLBACKEND", None)
    try:
        import matplotlib
    except ImportError:
        raise MissingExtra("matplotlib", "train", "the confusion matrix image") from None
    finally:
        if backend is not None:
            os.environ["MPLBACKEND"] = backend
    defaults = {k: v for k, v in matplotlib.rcParamsDefault.items() if k != "backend"}
    with warnings.catch_warnings():
        # Of settings that are deprecated, and of rare letters, which are drawn as boxes.
        warnings.simplefilter("ignore")
        with matplotlib.rc_context(defaults):
            yield


def _draw(matrix: Ints, class_names: Sequence[str], file: Path) -> None:
    # Without pyplot, which keeps figures alive and may look for a display.
    from matplotlib import font_manager
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    side, _ = _sizes(len(class_names))
    names = [shorten(" ".join(name.split()), _MAX_NAME_CHARACTERS) for name in class_names]
    installed = {font.name for font in font_manager.fontManager.ttflist}
    fonts = ["DejaVu Sans", *(name for name in _WIDE_FONTS if name in installed)]
    figure = Figure(figsize=(side, side), dpi=130, facecolor="white")
    FigureCanvasAgg(figure)
    # The plot fills the figure; saving enlarges the figure by the labels around it.
    _fill(figure.add_axes((0, 0, 1, 1)), matrix, names, fonts=fonts)
    with storage.atomic_path(file) as temporary:
        margins: dict[str, Any] = {"bbox_inches": "tight", "pad_inches": 0.25}
        figure.savefig(temporary, format="png", metadata={"Software": None}, **margins)


def _fill(axes: Any, matrix: Ints, names: list[str], *, fonts: list[str]) -> None:
    classes, (side, points) = len(names), _sizes(len(names))
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    # The root keeps a single mistake among hundreds visible.
    heat = np.sqrt(shares)
    axes.imshow(heat, cmap="Blues", vmin=0, vmax=1, aspect="equal", interpolation="nearest")
    # A tick per class if a line of text fits, else a tick every few classes.
    step = max(1, int(np.ceil(points * 1.15 / (72 * side / classes))))
    ticks = range(0, classes, step)
    # Class names are data, in which "$" must not start a formula.
    text = {"fontsize": points, "fontfamily": fonts, "parse_math": False}
    axes.set_xticks(ticks, [names[i] for i in ticks], rotation=90, **text)
    axes.set_yticks(ticks, [names[i] for i in ticks], **text)
    axes.tick_params(length=0 if step == 1 else 2, pad=3)
    axes.set_xlabel("predicted", fontsize=10, color="#555555")
    axes.set_ylabel("true", fontsize=10, color="#555555")
    axes.spines[:].set_visible(False)
    hits, count = int(matrix.diagonal().sum()), int(matrix.sum())
    share = percent(hits / count) if count else "no images"
    axes.set_title(f"{hits:,} of {count:,} right ({share})", fontsize=12, loc="left", pad=8)
    if classes <= _MAX_CLASSES_WITH_COUNTS:
        axes.set_xticks(np.arange(classes - 1) + 0.5, minor=True)
        axes.set_yticks(np.arange(classes - 1) + 0.5, minor=True)
        axes.grid(which="minor", color="white", linewidth=1.5)
        axes.tick_params(which="minor", length=0)
        for t, p in zip(*np.nonzero(matrix), strict=True):
            colour = "white" if heat[t, p] > 0.6 else "#1d2023"
            size = points if matrix[t, p] < 1000 else points * 0.75
            axes.text(
                p, t, f"{matrix[t, p]}", ha="center", va="center", color=colour, fontsize=size
            )


def _sizes(classes: int) -> tuple[float, float]:
    """Side of the plot, 2..13 inches, and size of its text in points."""
    cell, points = 0.16, 7.0
    if classes <= _MAX_CLASSES_WITH_COUNTS:
        cell, points = (0.5, 10.0) if classes <= 12 else (0.34, 8.5)
    return min(max(2.0, cell * classes), 13.0), points
