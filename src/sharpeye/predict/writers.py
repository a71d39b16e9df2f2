"""Write predictions as text, JSON lines or CSV: one line an image, as soon as it is predicted."""

import csv
import json
from collections.abc import Callable
from typing import TextIO

from sharpeye.core.types import Prediction
from sharpeye.predict.predictor import PredictResult, UnreadableImage
from sharpeye.predict.terminal import show

Writer = Callable[[PredictResult], None]


def open_writer(form: str, out: TextIO, *, boxes: bool = False) -> Writer:
    """A function that writes results as `text`, `jsonl` or `csv`.

    Args:
        boxes: whether the model localizes; a table's columns must be known before its first row.
    """
    if form == "csv":
        return csv_writer(out, boxes=boxes)
    return jsonl_writer(out) if form == "jsonl" else text_writer(out)


def text_writer(out: TextIO) -> Writer:
    """Write `path<TAB>label 97.1%, label 2.0%`, or `path<TAB>unknown (most like label 61.2%)`.

    If there is a box, `<TAB>at 12,30 to 200,180` follows, from its upper left corner to its lower
    right one in pixels. An unreadable image has `path<TAB>error: reason`.
    """

    def write(result: PredictResult) -> None:
        if isinstance(result, UnreadableImage):
            out.write(f"{show(result.path)}\terror: {show(result.error)}\n")
            return
        ranked = ", ".join(f"{show(label)} {score:.1%}" for label, score in result.top)
        if result.unknown:
            ranked = f"unknown (most like {ranked})"
        where = "" if result.box is None else "\tat {:.0f},{:.0f} to {:.0f},{:.0f}"
        out.write(f"{show(result.path or '')}\t{ranked}{where.format(*result.box or ())}\n")

    return write


def jsonl_writer(out: TextIO) -> Writer:
    """Write a JSON object a line; see `Prediction.to_dict` and `UnreadableImage.to_dict`."""

    def write(result: PredictResult) -> None:
        out.write(json.dumps(result.to_dict(), ensure_ascii=False) + "\n")

    return write


def csv_writer(out: TextIO, *, boxes: bool = False) -> Writer:
    """Write the columns path, label, score, error; with boxes xmin, ymin, xmax, ymax in pixels;
    then unknown, true or false, and unknown_score, both empty if the model has no unknown score.
    """
    table = csv.writer(out, lineterminator="\n")
    edges = ("xmin", "ymin", "xmax", "ymax") if boxes else ()
    table.writerow(("path", "label", "score", "error", *edges, "unknown", "unknown_score"))

    def write(result: PredictResult) -> None:
        if isinstance(result, UnreadableImage):
            table.writerow((result.path, "", "", result.error, *("" for _ in edges), "", ""))
            return
        box = [f"{edge:.2f}" for edge in result.box or ()]
        score = f"{result.score:.6f}"
        table.writerow((result.path, result.label, score, "", *box, *_unknown_columns(result)))

    return write


def _unknown_columns(prediction: Prediction) -> tuple[str, str]:
    if prediction.unknown_score is None:
        return "", ""
    return "true" if prediction.unknown else "false", f"{prediction.unknown_score:.6f}"
