"""Answers as text, JSON lines or CSV: one line a picture, as soon as it is known."""

import csv
import json
import re
from collections.abc import Callable
from typing import TextIO

from sharpeye.predict.predictor import Unreadable
from sharpeye.types import Prediction

Writer = Callable[[Prediction | Unreadable], None]

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def show(name: str) -> str:
    """A name that is safe on a terminal: control characters become backslash escapes."""
    return _CONTROL.sub(lambda match: match.group().encode("unicode_escape").decode(), name)


def text_writer(out: TextIO) -> Writer:
    """`path<TAB>label 97.1 %, label 2.0 %`; what cannot be read says why."""

    def write(answer: Prediction | Unreadable) -> None:
        if isinstance(answer, Unreadable):
            out.write(f"{show(answer.path)}\terror: {show(answer.error)}\n")
            return
        ranked = ", ".join(f"{show(label)} {score:.1%}" for label, score in answer.top)
        out.write(f"{show(answer.path or '')}\t{ranked}\n")

    return write


def jsonl_writer(out: TextIO) -> Writer:
    """A JSON object a line; see `Prediction.to_dict` and `Unreadable.to_dict`."""

    def write(answer: Prediction | Unreadable) -> None:
        out.write(json.dumps(answer.to_dict(), ensure_ascii=False) + "\n")

    return write


def csv_writer(out: TextIO) -> Writer:
    """Columns path, label, score, error."""
    table = csv.writer(out, lineterminator="\n")
    table.writerow(("path", "label", "score", "error"))

    def write(answer: Prediction | Unreadable) -> None:
        if isinstance(answer, Unreadable):
            table.writerow((answer.path, "", "", answer.error))
        else:
            table.writerow((answer.path, answer.label, f"{answer.score:.6f}", ""))

    return write


WRITERS: dict[str, Callable[[TextIO], Writer]] = {
    "text": text_writer,
    "jsonl": jsonl_writer,
    "csv": csv_writer,
}
