"""Reads the documents of a STAC catalogue, within limits of size and location."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from pipeline.errors import CatalogueError, NotSTAC, RasterError
from pipeline.storage import Root
from pipeline.storage.allowed_roots import AllowedRoots
from pipeline.storage.documents import home_of, read_document, resolve_link

Document = dict[str, Any]
"""A JSON object."""


@dataclass(frozen=True)
class Link:
    """The URI of a document, and how to request it."""

    uri: str
    body: Document | None = None
    """The body of a POST; None for a GET."""

    @property
    def key(self) -> bytes:
        """The same for two links if they lead to the same document."""
        text = (
            self.uri if self.body is None else f"{self.uri} {json.dumps(self.body, sort_keys=True)}"
        )
        return blake2b(text.encode(errors="surrogateescape"), digest_size=16).digest()


@dataclass(frozen=True)
class LinkedDocument:
    """A document with its link."""

    link: Link
    document: Document

    def links(self, *relations: str) -> list[Document]:
        """Return the link objects with one of these relations."""
        return [
            link
            for link in objects_in(self.document, "links")
            if link.get("rel") in relations and isinstance(link.get("href"), str)
        ]

    def target(self, link: Document) -> Link:
        """Return the target of a link object; a POST may repeat the body of this page."""
        uri = resolve_link(self.link.uri, link["href"]).partition("#")[0]
        if str(link.get("method", "GET")).upper() != "POST":
            return Link(uri)
        body = link.get("body")
        body = body if isinstance(body, dict) else {}
        if link.get("merge") is True:
            body = {**(self.link.body or {}), **body}
        return Link(uri, body)


class DocumentReader:
    """Reads the documents of one catalogue that lie below the roots, or beside the start of the catalogue."""

    def __init__(self, start: str, roots: Sequence[Root], most: int) -> None:
        """`most` is the number of bytes of the largest document."""
        self._roots = AllowedRoots([*roots, home_of(start)])
        self._most = most

    def read(self, link: Link) -> LinkedDocument:
        """Read a document. Raises a RasterError, including one for a document that is not a JSON object.

        Raises TransientError if a bucket does not answer.
        """
        body = None if link.body is None else json.dumps(link.body).encode()
        uri, data = read_document(link.uri, self._roots, self._most, body)
        try:
            document = parse_json(data)
        except (ValueError, RecursionError) as error:
            raise NotSTAC(f"it is not JSON ({str(error)[:100]})") from error
        if not isinstance(document, dict):
            raise NotSTAC("it is JSON, but not an object")
        return LinkedDocument(Link(uri, link.body), document)

    def read_first(self, link: Link) -> LinkedDocument:
        """Read the document that the user gave. Raises CatalogueError."""
        try:
            return self.read(link)
        except RasterError as error:
            raise CatalogueError(f"{link.uri}: {error} [{error.code}]") from error


def parse_json(data: bytes) -> Any:
    """Parse JSON in UTF-8; accept NaN and Infinity too, which the standard does not have. Raises ValueError.

    A text with half of a surrogate pair is an error, because it cannot be stored.
    """
    text = data.decode("utf-8-sig")
    value = json.loads(text)
    if "\\ud" in text or "\\uD" in text:
        json.dumps(value, ensure_ascii=False).encode()
    return value


def objects_in(document: Document, name: str) -> list[Document]:
    """Return the objects in a list of a document; none if the value is not a list."""
    values = document.get(name)
    return (
        [value for value in values if isinstance(value, dict)] if isinstance(values, list) else []
    )


def object_in(document: Document, name: str) -> Document:
    """Return an object of a document; an empty one if the value is not an object."""
    value = document.get(name)
    return value if isinstance(value, dict) else {}


def text_in(document: Document, name: str) -> str:
    """Return a text of a document without control characters; empty if the value is not a text."""
    value = document.get(name)
    return printable(value) if isinstance(value, str) else ""


def printable(text: str) -> str:
    """Return a text without control characters."""
    return "".join(char for char in text if char.isprintable())
