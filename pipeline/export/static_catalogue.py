"""Export a static STAC catalogue: catalog.json, and for each raster source a folder with its collection and its items.

Links are relative, and no document links to one that is not there: items take their places first, then collections,
then the catalogue; what nothing links to any more is deleted last. A document that stays the same is not written.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from shutil import rmtree
from typing import Any

import orjson

from pipeline.export.selection import Part, Selection, Snapshot
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
"""Each is fetched with the ids of its files."""
LINKS_AT_ONCE = 1000
Documents = Iterable[tuple[str, Iterable[bytes]]]
"""Names relative to the target, and the pieces of their contents, which can be iterated twice."""


@dataclass(frozen=True)
class CollectionPieces:
    """A collection as JSON, in pieces: it has a link for each of its files, of which there may be a million."""

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
    """A static catalogue that is brought up to date."""

    def __init__(
        self,
        snapshot: Snapshot,
        selection: Selection,
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
        """Write what changed, then delete what is gone; with `full` compare every document."""
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
        """Return the parts that changed, and those that hold nothing any more."""
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
        """Write the documents of a part that changed; those that are gone stay until nothing links to them."""
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
        os.sync()  # all at once: the disk would take longer for each file of its own
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
        """Write the document that links all collections."""
        facts = repr([(part.number, part.digest) for part in collections])
        whole = Part(0, 1, sha256(facts.encode()).hexdigest()[:32])
        if self._target.read(CATALOG, 0).holds(whole) and not self._full:
            return
        os.sync()
        self._target.write(CATALOG, 0, Record(files=[CATALOG_FILE]))
        with written_beside(self._target.path(CATALOG_FILE)) as path, path.open("wb") as file:
            file.writelines(self._catalog())
        self._target.write(CATALOG, 0, Record(whole.digest, [CATALOG_FILE]))
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
        """Delete the documents that nothing links to any more, also those of an export that was killed."""
        for kind in (ITEMS, COLLECTIONS):
            for number in self._target.parts(kind):
                record = self._target.read(kind, number)
                if record.gone:
                    self._summary.documents_removed += self._target.delete(record.gone)
                    self._target.write(kind, number, Record(record.digest, record.files))
