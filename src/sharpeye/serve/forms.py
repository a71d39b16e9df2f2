"""The files of a multipart/form-data body (RFC 7578), in memory, within bounds.

The grammar is python-multipart's; what may be held, and how many of it, is decided here. Nothing
is written to disk.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from sharpeye.serve.limits import RequestRefused

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


class FormParts:
    """What the parser of a form calls: puts each part's headers together. To be derived from.

    Attributes:
        ended: whether the last boundary has come.
    """

    def __init__(self) -> None:
        self.ended = False
        self._begin()

    def started(self, field: str, file: str | None) -> None:
        """A part begins; `file` is the file's name, None for a plain field."""
        raise NotImplementedError

    def came(self, data: bytes) -> None:
        """Some more of the part."""
        raise NotImplementedError

    def finished(self) -> None:
        """The part is whole."""
        raise NotImplementedError

    def callbacks(self) -> "MultipartCallbacks":
        """For `python_multipart.multipart.MultipartParser`."""
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._on_name,
            "on_header_value": self._on_value,
            "on_header_end": self._on_header_end,
            "on_headers_finished": self._on_headers,
            "on_part_data": lambda data, start, end: self.came(data[start:end]),
            "on_part_end": self.finished,
            "on_end": self._on_end,
        }

    def _begin(self) -> None:
        self._name, self._value, self._disposition = b"", b"", b""
        self._header_bytes = 0

    def _on_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]
        self._count_header(end - start)

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]
        self._count_header(end - start)

    def _count_header(self, size: int) -> None:
        self._header_bytes += size
        if self._header_bytes > _MAX_HEADER_BYTES:
            raise RequestRefused(
                431, f"a part's headers are over the limit of {_MAX_HEADER_BYTES} bytes"
            )

    def _on_header_end(self) -> None:
        if self._name.lower() == b"content-disposition":
            self._disposition = self._value
        self._name, self._value = b"", b""

    def _on_headers(self) -> None:
        kind, options = parse_options_header(self._disposition)
        if kind != b"form-data" or b"name" not in options:
            raise RequestRefused(
                400, "a part of the form has no `Content-Disposition: form-data; name=`"
            )
        names = [
            options[key].decode("utf-8", "replace")[:_MAX_NAME] if key in options else None
            for key in (b"name", b"filename")
        ]
        self.started(names[0] or "", names[1])

    def _on_end(self) -> None:
        self.ended = True


@contextlib.contextmanager
def form_errors() -> Iterator[None]:
    """Turn what the parser raises into a `Refusal`."""
    try:
        yield
    except FormParserError:
        raise RequestRefused(
            400, "the body is not the form that its Content-Type announces"
        ) from None


def require_ended(parts: FormParts) -> None:
    """Refuse a form whose last boundary is missing."""
    if not parts.ended:
        raise RequestRefused(400, "the form is cut off: its last boundary is missing")


class _Collector(FormParts):
    """Keeps the parts."""

    def __init__(self, max_files: int) -> None:
        super().__init__()
        self.form = Form()
        self._max_files, self._fields = max_files, 0
        self._field, self._data = "", bytearray()
        self._file: str | None = None

    def started(self, field: str, file: str | None) -> None:
        self._field, self._file, self._data = field, file, bytearray()
        if file is not None and len(self.form.files) >= self._max_files:
            raise RequestRefused(
                413,
                f"more pictures than the limit of {self._max_files} a request; "
                "send them in several requests",
            )
        self._fields += file is None
        if self._fields > _MAX_FIELDS:
            raise RequestRefused(413, f"more fields than the limit of {_MAX_FIELDS} a form")

    def came(self, data: bytes) -> None:
        if self._file is None and len(self._data) + len(data) > _MAX_FIELD_BYTES:
            raise RequestRefused(
                413,
                f"the field {self._field!r} is over the limit of {_MAX_FIELD_BYTES} bytes; "
                "a picture is sent as a file: curl -F file=@rose.jpg",
            )
        self._data += data

    def finished(self) -> None:
        if self._file is None:
            self.form.fields[self._field] = self._data.decode("utf-8", "replace")
        else:
            name = self._file or f"{self._field}[{len(self.form.files)}]"
            self.form.files.append((name, bytes(self._data)))


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
        raise RequestRefused(400, "the Content-Type multipart/form-data has no boundary")
    collector = _Collector(max_files)
    with form_errors():
        parser = MultipartParser(boundary, collector.callbacks())
        parser.write(body)
        parser.finalize()
    require_ended(collector)
    return collector.form
