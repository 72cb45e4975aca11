"""The form that an upload is: parsed while it arrives, its file handed on piece by piece, never held in memory."""

import logging
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import unquote_to_bytes

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from pipeline.api.body import MULTIPART
from pipeline.api.problems import Problem, invalid

FILE = "file"
"""The field that holds the raster."""
FIELD_BYTES = 64 * 2**10
"""All other fields together."""
MOST_PARTS = 100
"""Fields and files, those included that nobody asks for."""
LONGEST_NAME = 255
EXTENDED_NAME = re.compile(rb"filename\*\s*=\s*(?:utf-8|iso-8859-1)''([^;\s]+)", re.IGNORECASE)
"""A name in the form of RFC 5987, which some clients send for names beyond ASCII."""
PLAIN = (b"", b"7bit", b"8bit", b"binary")
"""Encodings of a part that leave its bytes as they are."""


# It would warn of what the client is told anyway.
logging.getLogger("python_multipart.multipart").setLevel(logging.CRITICAL)


class UploadForm:
    """A form in multipart/form-data; `write` takes what arrives.

    `begin` gets the fields before the file once it begins, `sink` the bytes of the file.
    """

    def __init__(
        self,
        content_type: str,
        begin: Callable[[Mapping[str, str]], None],
        sink: Callable[[memoryview], None],
    ) -> None:
        """Raises Problem 400 where this is no such form."""
        kind, options = parse_options_header(content_type)
        boundary = options.get(b"boundary")
        if kind != MULTIPART.encode() or not boundary:
            raise invalid({FILE: ["No file was submitted; send it as multipart/form-data."]})
        self.fields: dict[str, str] = {}
        self.filename: str | None = None
        self._begin, self._sink, self._field, self._whole = begin, sink, bytearray(), False
        self._room, self._size, self._parts = FIELD_BYTES, 0, 0
        self._name = ""
        self._take: Callable[[memoryview], None] = self._take_nothing
        self._header, self._value, self._headers = bytearray(), bytearray(), dict[bytes, bytes]()
        with _translated():
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin_part,
                    "on_part_data": self._part_data,
                    "on_part_end": self._end_part,
                    "on_header_field": self._header_name,
                    "on_header_value": self._header_value,
                    "on_header_end": self._end_header,
                    "on_headers_finished": self._end_headers,
                    "on_end": self._end,
                },
            )

    def write(self, data: bytes) -> None:
        """Parse what arrived; raises Problem 400 where it is broken, and whatever the sink raises."""
        with _translated():
            self._parser.write(data)

    def finish(self) -> None:
        """Raises Problem 400 when the form is not whole or without a file."""
        if not self._whole:
            raise Problem(400, "The form ends before its last boundary; send it again.")
        if not self._submitted:
            raise invalid({FILE: ["No file was submitted."]})

    @property
    def _submitted(self) -> bool:
        """Whether a file has begun; where none was chosen, browsers send one without name and bytes."""
        return bool(self.filename) or self._size > 0

    def _begin_part(self) -> None:
        self._headers, self._name, self._take = {}, "", self._take_nothing
        self._parts += 1
        if self._parts > MOST_PARTS:
            raise Problem(
                400, f"The form may have {MOST_PARTS} parts; send the file and its fields."
            )

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        self._headers[bytes(self._header).lower()] = bytes(self._value).strip()
        self._header.clear()
        self._value.clear()

    def _end_headers(self) -> None:
        if self._headers.get(b"content-transfer-encoding", b"").lower() not in PLAIN:
            raise Problem(400, "A part of the form is encoded; send its bytes as they are.")
        disposition = self._headers.get(b"content-disposition", b"")
        _, options = parse_options_header(disposition)
        name = options.get(b"name", b"").decode(errors="replace")
        filename = _filename(disposition, options)
        if name == FILE:
            self._begin_file(filename)
            self._take = self._take_file
        elif name and filename is None:
            self._name, self._take = name, self._take_field
            self._spend(len(name))

    def _begin_file(self, filename: str | None) -> None:
        if filename is None:
            raise invalid({FILE: ["The submitted data was not a file; give it a file name."]})
        if self._submitted:
            raise invalid({FILE: ["Only one file can be sent at a time."]})
        self._begin(self.fields)
        self.filename = filename

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        self._take(memoryview(data)[start:end])

    def _take_file(self, data: memoryview) -> None:
        self._size += len(data)
        self._sink(data)

    def _take_field(self, data: memoryview) -> None:
        self._spend(len(data))
        self._field += data

    def _spend(self, size: int) -> None:
        self._room -= size
        if self._room < 0:
            raise Problem(400, f"The fields beside the file may be {FIELD_BYTES} bytes together.")

    def _take_nothing(self, data: memoryview) -> None:
        """Files under other names are left out."""

    def _end_part(self) -> None:
        if self._name:
            self.fields[self._name] = self._field.decode(errors="replace")
        self._field.clear()

    def _end(self) -> None:
        self._whole = True


def _filename(disposition: bytes, options: dict[bytes, bytes]) -> str | None:
    """The name that the client gave, as text that the database can hold; data, and never a path of ours."""
    name = options.get(b"filename")
    extended = EXTENDED_NAME.search(disposition)
    if name is None and extended:
        name = unquote_to_bytes(extended[1])
    if name is None:
        return None
    return name.decode(errors="replace").replace("\0", "\N{REPLACEMENT CHARACTER}")[:LONGEST_NAME]


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except FormParserError as error:
        raise Problem(400, f"The form is broken: {error}.") from error
