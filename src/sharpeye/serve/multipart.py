"""The files of a multipart/form-data body (RFC 7578), in memory, within bounds.

The grammar is python-multipart's; what may be held, and how many of it, is decided here. Nothing
is written to disk.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from sharpeye.serve.limits import Refusal

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

_MAX_FIELDS = 16
_MAX_HEADER_BYTES = 8 * 2**10  # of one part
_MAX_FIELD_BYTES = 2**10
_MAX_NAME = 255  # characters: what file systems allow


@dataclass
class Form:
    """What a body holds.

    Attributes:
        files: (file's name, bytes) in their order.
        fields: the other parts, by name.
    """

    files: list[tuple[str, bytes]] = field(default_factory=list)
    fields: dict[str, str] = field(default_factory=dict)


class _Collector:
    """Takes what the parser finds, part by part."""

    def __init__(self, max_files: int) -> None:
        self.form = Form()
        self._max_files = max_files
        self.ended = False
        self._fields = 0
        self._start()

    def _start(self) -> None:
        self._name, self._value = b"", b""
        self._disposition = b""
        self._header_bytes = 0
        self._file: str | None = None
        self._field = ""
        self._data = bytearray()

    def on_part_begin(self) -> None:
        self._start()

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]
        self._count_header(end - start)

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]
        self._count_header(end - start)

    def _count_header(self, size: int) -> None:
        self._header_bytes += size
        if self._header_bytes > _MAX_HEADER_BYTES:
            raise Refusal(431, f"a part's headers are over the limit of {_MAX_HEADER_BYTES} bytes")

    def on_header_end(self) -> None:
        if self._name.lower() == b"content-disposition":
            self._disposition = self._value
        self._name, self._value = b"", b""

    def on_headers_finished(self) -> None:
        kind, options = parse_options_header(self._disposition)
        if kind != b"form-data" or b"name" not in options:
            raise Refusal(400, "a part of the form has no `Content-Disposition: form-data; name=`")
        self._field = options[b"name"].decode("utf-8", "replace")[:_MAX_NAME]
        if b"filename" in options:
            self._file = options[b"filename"].decode("utf-8", "replace")[:_MAX_NAME]
            if len(self.form.files) >= self._max_files:
                raise Refusal(
                    413,
                    f"more pictures than the limit of {self._max_files} a request; "
                    "send them in several requests",
                )
        else:
            self._fields += 1
            if self._fields > _MAX_FIELDS:
                raise Refusal(413, f"more fields than the limit of {_MAX_FIELDS} a form")

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._file is None and len(self._data) + end - start > _MAX_FIELD_BYTES:
            raise Refusal(
                413,
                f"the field {self._field!r} is over the limit of {_MAX_FIELD_BYTES} bytes; "
                "a picture is sent as a file: curl -F file=@rose.jpg",
            )
        self._data += data[start:end]

    def on_part_end(self) -> None:
        if self._file is None:
            self.form.fields[self._field] = self._data.decode("utf-8", "replace")
        else:
            name = self._file or f"{self._field}[{len(self.form.files)}]"
            self.form.files.append((name, bytes(self._data)))
        self._start()

    def on_end(self) -> None:
        self.ended = True


def parse_form(body: bytes, content_type: str, max_files: int) -> Form:
    """Take a form apart.

    Args:
        body: the whole body.
        content_type: with the boundary in it.
        max_files: more are refused.

    Raises:
        Refusal: no form, damaged, cut off, or over a limit.
    """
    _, options = parse_options_header(content_type)
    boundary = options.get(b"boundary")
    if not boundary:
        raise Refusal(400, "the Content-Type multipart/form-data has no boundary")
    collector = _Collector(max_files)
    callbacks: MultipartCallbacks = {
        "on_part_begin": collector.on_part_begin,
        "on_header_field": collector.on_header_field,
        "on_header_value": collector.on_header_value,
        "on_header_end": collector.on_header_end,
        "on_headers_finished": collector.on_headers_finished,
        "on_part_data": collector.on_part_data,
        "on_part_end": collector.on_part_end,
        "on_end": collector.on_end,
    }
    try:
        parser = MultipartParser(boundary, callbacks)
        parser.write(body)
        parser.finalize()
    except FormParserError:
        raise Refusal(400, "the body is not the form that its Content-Type announces") from None
    if not collector.ended:
        raise Refusal(400, "the form is cut off: its last boundary is missing")
    return collector.form
