"""Parses the form of an upload while it arrives; the file is passed on in pieces and never held in memory."""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import unquote_to_bytes

from multipart import MultipartError, MultipartSegment, PushMultipartParser, parse_options_header

from pipeline.api.body import MULTIPART
from pipeline.api.problems import Problem, invalid

FILE = "file"
"""The field with the raster."""
MAX_FIELD_BYTES = 64 * 2**10
"""Maximum size in bytes of the names and values of all other fields together."""
MAX_PARTS = 100
"""Maximum number of fields and files, including those with unknown names."""
MAX_HEADERS = 8
"""Maximum number of headers of a part; RFC 7578 allows three."""
MAX_FILENAME_LENGTH = 255
EXTENDED_NAME = re.compile(r"filename\*\s*=\s*(?:utf-8|iso-8859-1)''([^;\s]+)", re.IGNORECASE)
"""A file name in the form of RFC 5987, which some clients send for names beyond ASCII."""
IDENTITY_ENCODINGS = ("", "7bit", "8bit", "binary")
"""Transfer encodings that leave the bytes of a part as they are."""


class UploadForm:
    """Parses a form in multipart/form-data; `write` parses the next bytes.

    When the file starts, `begin` is called with the fields before it. `sink` is called with the bytes of the file.
    """

    def __init__(
        self,
        content_type: str,
        begin: Callable[[Mapping[str, str]], None],
        sink: Callable[[bytes], None],
    ) -> None:
        """Raise Problem 400 if the content type is not multipart/form-data with a boundary."""
        kind, options = parse_options_header(content_type)
        if kind != MULTIPART or not options.get("boundary"):
            raise invalid({FILE: ["No file was submitted; send it as multipart/form-data."]})
        self.fields: dict[str, str] = {}
        self.filename: str | None = None
        self._begin, self._sink = begin, sink
        self._is_file, self._field, self._value = False, "", bytearray()
        self._bytes_left, self._size = MAX_FIELD_BYTES, 0
        with _translate_errors():
            self._parser = PushMultipartParser(
                options["boundary"],
                max_segment_count=MAX_PARTS,
                max_header_count=MAX_HEADERS,
                header_charset="latin-1",  # accepts any bytes; _text decodes them
            )

    def write(self, data: bytes) -> None:
        """Parse the next bytes; raise Problem 400 for an invalid form, and any error of `sink`."""
        with _translate_errors():
            for event in self._parser.parse(data):
                if isinstance(event, MultipartSegment):
                    self._begin_part(event)
                elif event is None:
                    self._end_part()
                elif self._is_file:
                    self._size += len(event)
                    self._sink(event)
                elif self._field:
                    self._count(len(event))
                    self._value += event

    def finish(self) -> None:
        """Raise Problem 400 if the form is incomplete or has no file."""
        try:
            self._parser.close()
        except MultipartError as error:
            sentence = "The form ends before its last boundary; send it again."
            raise Problem(400, sentence) from error
        if not self._has_file:
            raise invalid({FILE: ["No file was submitted."]})

    @property
    def _has_file(self) -> bool:
        """Whether a file was sent; browsers send a part without name and bytes if the user chose no file."""
        return bool(self.filename) or self._size > 0

    def _begin_part(self, part: MultipartSegment) -> None:
        if part.header("Content-Transfer-Encoding", "").lower() not in IDENTITY_ENCODINGS:
            raise Problem(400, "A part of the form is encoded; send its bytes as they are.")
        filename = _filename(part)
        self._is_file, self._field = part.name == FILE, ""
        if self._is_file:
            self._begin_file(filename)
        elif part.name and filename is None:  # files with other names are ignored
            self._field = _text(part.name)
            self._count(len(part.name))

    def _begin_file(self, filename: str | None) -> None:
        if filename is None:
            raise invalid({FILE: ["The submitted data was not a file; give it a file name."]})
        if self._has_file:
            raise invalid({FILE: ["Only one file can be sent at a time."]})
        self._begin(self.fields)
        self.filename = filename

    def _end_part(self) -> None:
        if self._field:
            self.fields[self._field] = self._value.decode(errors="replace")
        self._value.clear()

    def _count(self, size: int) -> None:
        self._bytes_left -= size
        if self._bytes_left < 0:
            sentence = (
                f"The fields besides the file may have at most {MAX_FIELD_BYTES} bytes together."
            )
            raise Problem(400, sentence)


def _filename(part: MultipartSegment) -> str | None:
    """Return the client's file name as a text that the database can store. It is never used as a path."""
    extended = EXTENDED_NAME.search(part["Content-Disposition"])
    if part.filename is not None:
        name = _text(part.filename)
    elif extended:
        name = unquote_to_bytes(extended[1]).decode(errors="replace")
    else:
        return None
    return name.replace("\0", "\N{REPLACEMENT CHARACTER}")[:MAX_FILENAME_LENGTH]


def _text(value: str) -> str:
    """Decode a value as UTF-8; the parser decoded it as Latin-1."""
    return value.encode("latin-1").decode(errors="replace")


@contextmanager
def _translate_errors() -> Iterator[None]:
    try:
        yield
    except MultipartError as error:
        raise Problem(400, f"The form is not valid: {error}.") from error
