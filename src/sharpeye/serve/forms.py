"""Parse multipart/form-data bodies (RFC 7578) in memory, within limits.

python-multipart implements the grammar; this module bounds the memory. Starlette's own
`request.form` cannot replace it: `max_part_size` bounds fields, not files, which go to disk
(measured with Starlette 1.10: of a file of 100 MiB all went there with `max_part_size` 1 MiB), and
a body without its last boundary is accepted as an empty form.
"""

import contextlib
from collections.abc import Callable, Iterator

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from sharpeye.serve.limits import RequestRefused

_MAX_FIELDS = 16
_MAX_HEADER_BYTES = 8 * 2**10  # of one part
_MAX_FIELD_BYTES = 2**10
_MAX_NAME_CHARACTERS = 255  # the limit of file systems
# Fields of these names hold an image even without a file name, as scripts and `curl -F file=<...`
# send them; PHP and Rails add brackets.
_IMAGE_FIELDS = ("file", "files", "image", "images")


def form_boundary(content_type: str) -> bytes | None:
    """The boundary in a Content-Type header; None if it has none."""
    return parse_options_header(content_type)[1].get(b"boundary")


class FormParser:
    """Parses a form in chunks; a subclass handles the parts.

    All methods raise `RequestRefused` for a body that is not a form, or is over a limit.
    """

    def __init__(self, boundary: bytes) -> None:
        self._is_complete = False
        self._headers: list[list[bytes]] = []
        with _refusing_bad_forms():
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin_headers,
                    "on_header_field": self._header_adder(0),
                    "on_header_value": self._header_adder(1),
                    "on_header_end": lambda: self._headers.append([b"", b""]),
                    "on_headers_finished": self._end_headers,
                    "on_part_data": lambda data, start, end: self.add_data(data[start:end]),
                    "on_part_end": self.end_part,
                    "on_end": self._end_form,
                },
            )

    def write(self, chunk: bytes) -> None:
        """Parse the next chunk of the body."""
        with _refusing_bad_forms():
            self._parser.write(chunk)

    def finish(self) -> None:
        """Check that the form is complete: it must end with the last boundary."""
        with _refusing_bad_forms():
            self._parser.finalize()
        if not self._is_complete:
            raise RequestRefused(400, "the form is cut off: its last boundary is missing")

    def begin_part(self, field: str, file_name: str | None) -> None:
        """Handle the beginning of a part; `file_name` is None for a plain field."""
        raise NotImplementedError

    def add_data(self, data: bytes) -> None:
        raise NotImplementedError

    def end_part(self) -> None:
        raise NotImplementedError

    def _begin_headers(self) -> None:
        self._headers, self._header_bytes = [[b"", b""]], 0

    def _header_adder(self, column: int) -> Callable[[bytes, int, int], None]:
        """A handler that extends the last header's name (column 0) or value (column 1)."""

        def add(data: bytes, start: int, end: int) -> None:
            self._headers[-1][column] += data[start:end]
            self._header_bytes += end - start
            if self._header_bytes > _MAX_HEADER_BYTES:
                raise RequestRefused(
                    431, f"a part's headers are over the limit of {_MAX_HEADER_BYTES} bytes"
                )

        return add

    def _end_headers(self) -> None:
        headers = {name.lower(): value for name, value in self._headers}
        kind, options = parse_options_header(headers.get(b"content-disposition", b""))
        if kind != b"form-data" or b"name" not in options:
            raise RequestRefused(
                400, "a part of the form has no `Content-Disposition: form-data; name=`"
            )
        names = {
            key: text.decode("utf-8", "replace")[:_MAX_NAME_CHARACTERS]
            for key, text in options.items()
        }
        self.begin_part(names[b"name"], names.get(b"filename"))

    def _end_form(self) -> None:
        self._is_complete = True


@contextlib.contextmanager
def _refusing_bad_forms() -> Iterator[None]:
    try:
        yield
    except FormParserError:
        text = "the body is not the form that its Content-Type announces"
        raise RequestRefused(400, text) from None


class Form(FormParser):
    """A form in memory: (file name, bytes) in the body's order, and the plain fields by name."""

    def __init__(self, boundary: bytes, max_files: int) -> None:
        super().__init__(boundary)
        self.files: list[tuple[str, bytes]] = []
        self.fields: dict[str, str] = {}
        self._max_files, self._field_count = max_files, 0
        self._field, self._data = "", bytearray()
        self._file_name: str | None = None

    def begin_part(self, field: str, file_name: str | None) -> None:
        if file_name is None and field.partition("[")[0].lower() in _IMAGE_FIELDS:
            file_name = ""
        self._field, self._file_name, self._data = field, file_name, bytearray()
        if file_name is not None and len(self.files) >= self._max_files:
            raise RequestRefused(
                413,
                f"more images than the limit of {self._max_files} a request; "
                "send them in several requests",
            )
        self._field_count += file_name is None
        if self._field_count > _MAX_FIELDS:
            raise RequestRefused(413, f"more fields than the limit of {_MAX_FIELDS} a form")

    def add_data(self, data: bytes) -> None:
        if self._file_name is None and len(self._data) + len(data) > _MAX_FIELD_BYTES:
            raise RequestRefused(
                413,
                f"the field {self._field!r} is over the limit of {_MAX_FIELD_BYTES} bytes; "
                "an image is sent as a file: curl -F file=@rose.jpg",
            )
        self._data += data

    def end_part(self) -> None:
        if self._file_name is None:
            self.fields[self._field] = self._data.decode("utf-8", "replace")
        else:
            name = self._file_name or f"{self._field}[{len(self.files)}]"
            self.files.append((name, bytes(self._data)))


def parse_form(body: bytes, content_type: str, max_files: int) -> Form:
    """Parse a complete body; `content_type` contains the boundary.

    Raises:
        RequestRefused: not a form, damaged, cut off, without a file, or over a limit.
    """
    boundary = form_boundary(content_type)
    if not boundary:
        raise RequestRefused(400, "the Content-Type multipart/form-data has no boundary")
    form = Form(boundary, max_files)
    form.write(body)
    form.finish()
    if not form.files:
        raise RequestRefused(
            400, "the form has no file; send at least one, as with curl -F file=@rose.jpg"
        )
    return form
