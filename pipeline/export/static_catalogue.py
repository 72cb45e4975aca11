"""Exports a static STAC catalogue: catalog.json, and for each raster source a folder with its collection and its items.

Links are relative, and every link leads to an existing document: items are written first, then collections, then the
catalogue, and documents without links to them are deleted last. Unchanged documents are not written.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from shutil import rmtree
from typing import Any

import orjson

from pipeline.export.selection import ExportSelection, Part, Snapshot
from pipeline.export.summary import Progress, Summary
from pipeline.export.target import UNFINISHED, Record, Target, written_beside

ITEMS, COLLECTIONS, CATALOG = "items", "collections", "catalog"
JSON, GEOJSON = "application/json", "application/geo+json"
HEAD = {
    "type": "Catalog",
    "stac_version": "1.1.0",
    "id": "rastersources",
    "title": "rastersources",
    "description": "A catalogue of rasters. A raster source is a collection, a raster file an item.",
}


def link(rel: str, href: str, kind: str, **more: str) -> orjson.Fragment:
    """Return a link as JSON."""
    return orjson.Fragment(orjson.dumps({"rel": rel, "href": href, "type": kind, **more}))


CATALOG_FILE, COLLECTION_FILE = "catalog.json", "collection.json"
COLLECTION_LINKS = [
    link("root", f"../{CATALOG_FILE}", JSON),
    link("parent", f"../{CATALOG_FILE}", JSON),
]
ITEM_LINKS = [
    link("root", f"../{CATALOG_FILE}", JSON),
    link("parent", COLLECTION_FILE, JSON),
    link("collection", COLLECTION_FILE, JSON),
]
COLLECTIONS_AT_ONCE = 100
"""Number of collections to fetch at a time, each with the ids of its files."""
LINKS_AT_ONCE = 1000
Documents = Iterable[tuple[str, Iterable[bytes]]]
"""Paths relative to the target, with the contents of the documents in pieces, which can be iterated twice."""


@dataclass(frozen=True)
class CollectionPieces:
    """A collection as pieces of JSON, because it has a link for each of its files: up to a million."""

    collection: dict[str, Any]
    files: Sequence[int]
    """The ids of the files."""

    def __iter__(self) -> Iterator[bytes]:
        yield orjson.dumps({**self.collection, "links": COLLECTION_LINKS})[: -len("]}")]
        for start in range(0, len(self.files), LINKS_AT_ONCE):
            files = self.files[start : start + LINKS_AT_ONCE]
            links = (link("item", f"{file}.json", GEOJSON) for file in files)
            yield b"".join(b"," + orjson.dumps(each) for each in links)
        yield b"]}"


class StaticCatalogue:
    """Updates a static catalogue."""

    def __init__(
        self,
        snapshot: Snapshot,
        selection: ExportSelection,
        target: Target,
        progress: Progress,
        *,
        full: bool,
    ) -> None:
        self._snapshot, self._selection = snapshot, selection
        self._target, self._progress, self._full = target, progress, full
        self._incoming = target.hidden / "incoming"
        self._summary = Summary()

    def update(self) -> Summary:
        """Write the changed documents, then delete those of removed files and sources; with `full` compare them all."""
        items = self._snapshot.parts(self._selection, self._selection.file_digests())
        collections = self._snapshot.parts(self._selection, self._selection.source_digests())
        changed, gone = self._compare(ITEMS, items)
        self._summary.files = sum(part.amount for part in items)
        self._summary.parts_written, self._summary.parts_removed = len(changed), len(gone)
        self._summary.parts_unchanged = len(items) - len(changed)
        self._progress.add_total(sum(part.amount for part in changed))
        for part in changed:
            self._write(ITEMS, part, self._items(part))
            self._progress.advance(part.amount)
        changed, gone_too = self._compare(COLLECTIONS, collections)
        for part in changed:
            self._write(COLLECTIONS, part, self._collections(part))
        self._write_catalog(collections)
        for kind, parts in ((ITEMS, gone), (COLLECTIONS, gone_too)):
            for part in parts:
                self._write(kind, part, ())
        self._delete_gone()
        return self._summary

    def _compare(self, kind: str, parts: list[Part]) -> tuple[list[Part], list[Part]]:
        """Return the parts that changed, and the parts that are empty now."""
        known = {part.number for part in parts}
        recorded = self._target.parts(kind)
        gone = [Part(number, 0, UNFINISHED) for number in recorded if number not in known]
        changed = [
            part
            for part in parts
            if self._full or not self._target.read(kind, part.number).holds(part)
        ]
        return changed, gone

    def _write(self, kind: str, part: Part, documents: Documents) -> None:
        """Write the changed documents of a part; removed documents stay until no document links to them."""
        before = self._target.read(kind, part.number)
        rmtree(self._incoming, ignore_errors=True)
        self._incoming.mkdir()
        names: list[str] = []
        staged: list[str] = []
        for name, pieces in documents:
            names.append(name)
            if not self._is_written(name, pieces):
                with (self._incoming / str(len(staged))).open("wb") as file:
                    file.writelines(pieces)
                staged.append(name)
        known = {*before.files, *before.gone}
        self._target.write(kind, part.number, Record(files=sorted(known.union(names))))
        os.sync()  # faster than fsync for each file
        for number, name in enumerate(staged):
            path = self._target.path(name)
            path.parent.mkdir(exist_ok=True)
            (self._incoming / str(number)).replace(path)
        self._target.write(
            kind, part.number, Record(part.digest, names, sorted(known.difference(names)))
        )
        self._summary.documents_written += len(staged)

    def _is_written(self, name: str, pieces: Iterable[bytes]) -> bool:
        try:
            with self._target.path(name).open("rb") as file:
                return all(file.read(len(piece)) == piece for piece in pieces) and not file.read(1)
        except OSError:
            return False

    def _items(self, part: Part) -> Documents:
        for row in self._snapshot.rows(self._selection.items(part)):
            item = orjson.loads(row.item)
            yield f"{row.collection}/{row.id}.json", [orjson.dumps({**item, "links": ITEM_LINKS})]

    def _collections(self, part: Part) -> Documents:
        statement = self._selection.collections(part)
        for row in self._snapshot.rows(statement, COLLECTIONS_AT_ONCE):
            collection = orjson.loads(row.collection)
            del collection["links"]
            yield f"{row.uuid}/{COLLECTION_FILE}", CollectionPieces(collection, row.files)

    def _write_catalog(self, collections: list[Part]) -> None:
        """Write catalog.json, which links to all collections."""
        facts = repr([(part.number, part.digest) for part in collections])
        catalog = Part(0, 1, sha256(facts.encode()).hexdigest()[:32])
        if self._target.read(CATALOG, 0).holds(catalog) and not self._full:
            return
        os.sync()
        self._target.write(CATALOG, 0, Record(files=[CATALOG_FILE]))
        with written_beside(self._target.path(CATALOG_FILE)) as path, path.open("wb") as file:
            file.writelines(self._catalog())
        self._target.write(CATALOG, 0, Record(catalog.digest, [CATALOG_FILE]))
        self._summary.documents_written += 1

    def _catalog(self) -> Iterator[bytes]:
        yield (
            orjson.dumps(HEAD)[:-1] + b',"links":[' + orjson.dumps(link("root", CATALOG_FILE, JSON))
        )
        for row in self._snapshot.rows(self._selection.titles()):
            child = link("child", f"{row.uuid}/{COLLECTION_FILE}", JSON, title=row.name)
            yield b",\n" + orjson.dumps(child)
        yield b"]}\n"

    def _delete_gone(self) -> None:
        """Delete the documents to which no document links any more, including those of a killed export."""
        for kind in (ITEMS, COLLECTIONS):
            for number in self._target.parts(kind):
                record = self._target.read(kind, number)
                if record.gone:
                    self._summary.documents_removed += self._target.delete(record.gone)
                    self._target.write(kind, number, Record(record.digest, record.files))
