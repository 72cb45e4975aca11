"""Documents of a STAC catalogue: read once each, within limits of size, number and place."""

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
    """Where a document is, and how to ask for it."""

    uri: str
    body: Document | None = None
    """What is posted; None for a GET."""

    @property
    def key(self) -> bytes:
        """Tells whether two links lead to the same document."""
        text = (
            self.uri if self.body is None else f"{self.uri} {json.dumps(self.body, sort_keys=True)}"
        )
        return blake2b(text.encode(errors="surrogateescape"), digest_size=16).digest()


@dataclass(frozen=True)
class Page:
    """A document that was read."""

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
        """Return where a link object leads to; a POST may repeat the body of this page."""
        uri = resolve_link(self.link.uri, link["href"]).partition("#")[0]
        if str(link.get("method", "GET")).upper() != "POST":
            return Link(uri)
        body = link.get("body")
        body = body if isinstance(body, dict) else {}
        if link.get("merge") is True:
            body = {**(self.link.body or {}), **body}
        return Link(uri, body)


class DocumentReader:
    """Reads the documents of one catalogue: below the roots, and what lies where the catalogue begins."""

    def __init__(self, start: str, roots: Sequence[Root], most: int) -> None:
        """`most` is the number of bytes of the largest document."""
        self._roots = AllowedRoots([*roots, home_of(start)])
        self._most = most

    def read(self, link: Link) -> Page:
        """Return a document. Raises a RasterError, also for what is not a JSON object.

        Raises TransientError where a bucket does not answer.
        """
        body = None if link.body is None else json.dumps(link.body).encode()
        uri, data = read_document(link.uri, self._roots, self._most, body)
        try:
            document = parse_json(data)
        except (ValueError, RecursionError) as error:
            raise NotSTAC(f"it is not JSON ({str(error)[:100]})") from error
        if not isinstance(document, dict):
            raise NotSTAC("it is JSON, but not an object as STAC has it")
        return Page(Link(uri, link.body), document)

    def read_first(self, link: Link) -> Page:
        """Return the document that a person named. Raises CatalogueError."""
        try:
            return self.read(link)
        except RasterError as error:
            raise CatalogueError(f"{link.uri}: {error} [{error.code}]") from error


def parse_json(data: bytes) -> Any:
    """Return what JSON in UTF-8 says, with the numbers that JSON does not have, such as NaN. Raises ValueError.

    Texts with half a character, which nothing can store, are an error.
    """
    text = data.decode("utf-8-sig")
    found = json.loads(text)
    if "\\ud" in text or "\\uD" in text:
        json.dumps(found, ensure_ascii=False).encode()
    return found


def objects_in(document: Document, name: str) -> list[Document]:
    """Return the objects in a list of a document; none where it is something else."""
    values = document.get(name)
    return (
        [value for value in values if isinstance(value, dict)] if isinstance(values, list) else []
    )


def object_in(document: Document, name: str) -> Document:
    """Return an object of a document; an empty one where it is something else."""
    value = document.get(name)
    return value if isinstance(value, dict) else {}


def text_in(document: Document, name: str) -> str:
    """Return a text of a document without control characters; empty where it is something else."""
    value = document.get(name)
    return printable(value) if isinstance(value, str) else ""


def printable(text: str) -> str:
    """Return a text without control characters."""
    return "".join(char for char in text if char.isprintable())
