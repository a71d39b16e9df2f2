"""Write predictions as text, JSON lines or CSV: one line per image, as soon as it is predicted."""

import json
from collections.abc import Callable
from typing import TextIO

from sharpeye.core.formatting import plain_percent
from sharpeye.core.tables import TableWriter
from sharpeye.core.terminal import show
from sharpeye.predict.predictor import PredictResult, UnreadableImage

Writer = Callable[[PredictResult], None]


def open_writer(form: str, out: TextIO, *, boxes: bool = False, top: int = 1) -> Writer:
    """A function that writes results as `text`, `jsonl` or `csv`.

    Args:
        top: the number of classes in a line of a table.
        boxes: whether the model localizes; a table's columns must be known before its first row.
    """
    if form == "csv":
        return _csv_writer(out, boxes, top)
    format_line = _format_json if form == "jsonl" else _format_text

    def write(result: PredictResult) -> None:
        out.write(format_line(result) + "\n")

    return write


def _format_text(result: PredictResult) -> str:
    """`path<TAB>label 97.1%, label 2.0%`, or `path<TAB>unknown (most like label 61.2%)`.

    If there is a box, `<TAB>at 12,30 to 200,180` follows, from its upper left corner to its lower
    right one in pixels, and with a score `, overlap about 0.81`. An unreadable image has
    `path<TAB>error: reason`.
    """
    if isinstance(result, UnreadableImage):
        return f"{show(result.path)}\terror: {show(result.error)}"
    ranked = ", ".join(f"{show(label)} {plain_percent(score)}" for label, score in result.top)
    if result.unknown:
        ranked = f"unknown (most like {ranked})"
    position = "" if result.box is None else "\tat {:.0f},{:.0f} to {:.0f},{:.0f}"
    overlap = "" if result.box_score is None else f", overlap about {result.box_score:.2f}"
    return f"{show(result.path or '')}\t{ranked}{position.format(*result.box or ())}{overlap}"


def _format_json(result: PredictResult) -> str:
    return json.dumps(result.to_dict(), ensure_ascii=False)


def _csv_writer(out: TextIO, boxes: bool, top: int) -> Writer:
    """Write the columns path, label, score, error; with boxes xmin, ymin, xmax, ymax in pixels, and
    box_score, 0..1; then unknown, true or false, and unknown_score, both empty if the model has no
    unknown score. With `top` above 1, label_2, score_2, label_3, ... follow.
    """
    table = TableWriter(out)
    edges = ("xmin", "ymin", "xmax", "ymax", "box_score") if boxes else ()
    others = [f"{name}_{rank}" for rank in range(2, top + 1) for name in ("label", "score")]
    columns = ("path", "label", "score", "error", *edges, "unknown", "unknown_score", *others)
    table.writerow(columns)

    def write(result: PredictResult) -> None:
        if isinstance(result, UnreadableImage):
            table.writerow((result.path, "", "", result.error, *[""] * (len(columns) - 4)))
            return
        box = [f"{edge:.2f}" for edge in result.box or ()]
        if box:
            box.append("" if result.box_score is None else f"{result.box_score:.6f}")
        unknown = ("", "")
        if result.unknown_score is not None:
            unknown = ("true" if result.unknown else "false", f"{result.unknown_score:.6f}")
        row = (result.path, result.label, f"{result.score:.6f}", "", *box, *unknown)
        next_best = [text for name, score in result.top[1:top] for text in (name, f"{score:.6f}")]
        table.writerow((*row, *next_best))

    return write
