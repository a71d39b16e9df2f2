"""Read the standard error of a SharpEye command: progress records, messages, an error."""

from types import NoneType
from typing import Any

from sharpeye.core.safe_parse import parse_json

_MAX_MESSAGES = 200
_RECORD_FIELDS: dict[str, Any] = {
    "stage": str,
    "done": int,
    "total": int,
    "seconds": (int, float),
    "per_second": (int, float, NoneType),
    "left": (int, float, NoneType),
}


class CommandOutput:
    """The output of a command with `--progress jsonl`, parsed as it arrives.

    Attributes:
        bytes_read: number of parsed bytes of the output.
        messages: the latest lines besides progress and the error.
        error: the command's error message; empty without one.
    """

    def __init__(self) -> None:
        self.bytes_read = 0
        self.messages: list[str] = []
        self.error = ""
        self._unfinished_line = b""
        self._latest: dict[str, Any] | None = None

    def feed(self, data: bytes) -> None:
        self.bytes_read += len(data)
        *lines, self._unfinished_line = (self._unfinished_line + data).split(b"\n")
        for line in lines:
            self._parse_line(line)

    def finish(self) -> None:
        """Parse the last line, which may lack its line feed."""
        self._parse_line(self._unfinished_line)
        self._unfinished_line = b""

    def to_dict(self) -> dict[str, Any]:
        """`stage`, `done`, `total`, `left` (seconds of this stage, or None) and `messages`."""
        latest = self._latest or {"stage": "", "done": 0, "total": 0, "left": None}
        progress = {name: latest[name] for name in ("stage", "done", "total", "left")}
        return progress | {"messages": list(self.messages)}

    def _parse_line(self, data: bytes) -> None:
        line = data.decode("utf-8", "replace").strip()
        record = _progress_record(line)
        if record is not None:
            self._latest = record
        elif line.startswith("error: "):
            self.error = line.removeprefix("error: ")
        elif line:
            self.messages.append(line)
            del self.messages[:-_MAX_MESSAGES]


def _progress_record(line: str) -> dict[str, Any] | None:
    """A line of progress (see `cli.console`); None if it is a message."""
    try:
        record = parse_json(line) if line.startswith("{") else None
    except ValueError:
        return None
    if not isinstance(record, dict) or record.keys() != _RECORD_FIELDS.keys():
        return None
    is_valid = all(isinstance(record[key], kind) for key, kind in _RECORD_FIELDS.items())
    return record if is_valid else None
