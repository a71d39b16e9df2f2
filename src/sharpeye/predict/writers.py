"""Answers as text, JSON lines or CSV: one line an image, as soon as it is known."""

import csv
import json
import re
from collections.abc import Callable
from typing import TextIO

from sharpeye.core.types import Prediction
from sharpeye.predict.predictor import UnreadableImage

Writer = Callable[[Prediction | UnreadableImage], None]

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def show(name: str) -> str:
    """A name that is safe on a terminal: control characters become backslash escapes."""
    return _CONTROL.sub(lambda match: match.group().encode("unicode_escape").decode(), name)


def open_writer(form: str, out: TextIO, *, boxes: bool = False) -> Writer:
    """What writes answers in a form: text, jsonl or csv.

    Args:
        boxes: whether the model localizes; a table's columns must be known before its first row.
    """
    if form == "csv":
        return csv_writer(out, boxes=boxes)
    return jsonl_writer(out) if form == "jsonl" else text_writer(out)


def text_writer(out: TextIO) -> Writer:
    """`path<TAB>label 97.1%, label 2.0%`, or `path<TAB>unknown (most like label 61.2%)`.

    If there is a box, `<TAB>at 12,30 to 200,180` follows, from its upper left corner to its lower
    right one in pixels. What cannot be read says why.
    """

    def write(answer: Prediction | UnreadableImage) -> None:
        if isinstance(answer, UnreadableImage):
            out.write(f"{show(answer.path)}\terror: {show(answer.error)}\n")
            return
        ranked = ", ".join(f"{show(label)} {score:.1%}" for label, score in answer.top)
        if answer.unknown:
            ranked = f"unknown (most like {ranked})"
        where = "" if answer.box is None else "\tat {:.0f},{:.0f} to {:.0f},{:.0f}"
        out.write(f"{show(answer.path or '')}\t{ranked}{where.format(*answer.box or ())}\n")

    return write


def jsonl_writer(out: TextIO) -> Writer:
    """A JSON object a line; see `Prediction.to_dict` and `Unreadable.to_dict`."""

    def write(answer: Prediction | UnreadableImage) -> None:
        out.write(json.dumps(answer.to_dict(), ensure_ascii=False) + "\n")

    return write


def _unknown(answer: Prediction) -> tuple[str, str]:
    if answer.unknown_score is None:
        return "", ""
    return "true" if answer.unknown else "false", f"{answer.unknown_score:.6f}"


def csv_writer(out: TextIO, *, boxes: bool = False) -> Writer:
    """Columns path, label, score, error; with boxes xmin, ymin, xmax, ymax in pixels; then unknown,
    true or false, and unknown_score, both empty where a model does not tell.
    """
    table = csv.writer(out, lineterminator="\n")
    edges = ("xmin", "ymin", "xmax", "ymax") if boxes else ()
    table.writerow(("path", "label", "score", "error", *edges, "unknown", "unknown_score"))

    def write(answer: Prediction | UnreadableImage) -> None:
        if isinstance(answer, UnreadableImage):
            table.writerow((answer.path, "", "", answer.error, *("" for _ in edges), "", ""))
        else:
            box = [f"{edge:.2f}" for edge in answer.box or ()]
            table.writerow(
                (answer.path, answer.label, f"{answer.score:.6f}", "", *box, *_unknown(answer))
            )

    return write
