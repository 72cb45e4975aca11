"""Selects the content of an export: raster sources that a caller may read and filters find, and their files as STAC.

All reads of an export see one snapshot of the database. Files are divided into parts by ranges of their ids. The digest
of a part changes when one of its files is added, removed or changed.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import version
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Engine,
    FromClause,
    Row,
    Select,
    Text,
    cast,
    func,
    literal,
    literal_column,
    null,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY

from pipeline.catalogue.access import Caller, may_write
from pipeline.catalogue.features import COLLECTIONS, ITEMS, TIMELESS, named_file
from pipeline.catalogue.lists import RASTER_SOURCES
from pipeline.database.engine import translate_errors
from pipeline.database.tables import coordinate_systems, organisations, raster_files, raster_sources

PART_IDS = 50_000
"""Number of ids of files, or of raster sources, in one part."""
ROWS_AT_ONCE = 2_000
"""Number of rows that are fetched from the database at once."""
VERSION = version("rastersources")
"""Part of the digests: another release may write the same rows differently, so it writes every part again."""


@dataclass(frozen=True)
class ExportSelection:
    """The content of an export: the caller and the conditions."""

    caller: Caller
    where: Sequence[ColumnElement[bool]] = ()
    """Conditions on raster sources."""
    asset_urls: Sequence[tuple[str, str]] = ()
    """Prefixes of URIs and their public URLs."""

    @property
    def chosen(self) -> ColumnElement[bool]:
        """The condition for the selected raster sources."""
        source_ids = select(raster_sources.c.id).select_from(RASTER_SOURCES.joined(raster_sources))
        visible = RASTER_SOURCES.visible(self.caller)
        return raster_sources.c.id.in_(source_ids.where(visible, *self.where).correlate(None))

    @property
    def named(self) -> FromClause:
        """A subquery with the title of a file and its href for the caller."""
        prefixes, urls = (
            literal([pair[place] for pair in self.asset_urls], ARRAY(Text)) for place in (0, 1)
        )
        return named_file(self.caller, (prefixes, urls) if self.asset_urls else None)

    def file_digests(self) -> Select[Any]:
        """Select the number of each part of files with its size and hash."""
        file = raster_files.c
        facts = (
            file.id, raster_sources.c.uuid, file.registered, file.state, file.uri, file.fingerprint,
            may_write(raster_sources, self.caller),
        )  # fmt: skip
        rows = raster_files.join(raster_sources, raster_sources.c.id == file.source_id)
        return _digests(file.id, facts).select_from(rows).where(self.chosen).group_by("part")

    def source_digests(self) -> Select[Any]:
        """Select the number of each part of raster sources with its size and hash; the ids of files are in the hash."""
        source = raster_sources.c
        files = select(func.bit_xor(func.hashint8extended(raster_files.c.id, 0)))
        ids = files.where(raster_files.c.source_id == source.id).correlate(raster_sources)
        keywords = cast(func.stac_keywords(source.uuid), Text)
        facts = (
            source.uuid, source.last_modified, organisations.c.name, ids.scalar_subquery(), keywords,
        )  # fmt: skip
        return (
            _digests(source.id, facts)
            .select_from(COLLECTIONS.rows)
            .where(self.chosen)
            .group_by("part")
        )

    def items(self, part: "Part") -> Select[Any]:
        """Select the files of a part: id, the uuid of its `collection`, `item` as JSON and `geometry` as WKB."""
        named = self.named
        item = func.stac_item(
            raster_files.table_valued(), raster_sources.c.uuid, coordinate_systems.table_valued(),
            named.c.title, named.c.href, cast(null(), Text), cast(null(), Text), type_=Text,
        )  # fmt: skip
        geometry = func.ST_AsBinary(func.ST_ForcePolygonCCW(raster_files.c.footprint), "NDR")
        return self.files(item.label("item"), geometry.label("geometry"), named=named, part=part)

    def files(self, *columns: ColumnElement[Any], named: FromClause, part: "Part") -> Select[Any]:
        """Select columns of the selected files, in the order of their ids."""
        identity, rows = raster_files.c.id, ITEMS.rows.join(named, literal_column("true"))
        chosen = (self.chosen, *_within(identity, part))
        every = (identity, raster_sources.c.uuid.label("collection"), *columns)
        return select(*every).select_from(rows).where(*chosen).order_by(identity)

    def collections(self, part: "Part") -> Select[Any]:
        """Select the raster sources of a part: `id`, `uuid`, the `collection` as JSON, and the ids of its `files`."""
        ids = select(raster_files.c.id).where(raster_files.c.source_id == raster_sources.c.id)
        files = func.array(
            ids.order_by(raster_files.c.id).correlate(raster_sources).scalar_subquery()
        )
        nothing = cast(null(), Text)
        collection = func.stac_collection(
            raster_sources.table_valued(), organisations.c.name, TIMELESS, nothing, nothing
        )
        source = raster_sources.c
        return (
            select(
                source.id,
                source.uuid,
                cast(collection, Text).label("collection"),
                files.label("files"),
            )
            .select_from(COLLECTIONS.rows)
            .where(self.chosen, *_within(source.id, part))
            .order_by(source.id)
        )

    def titles(self) -> Select[Any]:
        """Select `uuid` and `name` of the selected raster sources."""
        source = raster_sources.c
        return select(source.uuid, source.name).where(self.chosen).order_by(source.id)

    def part(self, row: Row[Any]) -> "Part":
        """Return a part from a row with its number, size and hash."""
        facts = (VERSION, self.asset_urls, row.amount, row.hash)
        return Part(row.part, row.amount, sha256(repr(facts).encode()).hexdigest()[:32])


@dataclass(frozen=True)
class Part:
    """A range of ids."""

    number: int
    amount: int
    """Number of selected rows in it."""
    digest: str
    """A hash that changes when a row is added, removed or changed."""

    @property
    def ids(self) -> range:
        """The range of ids."""
        return range(self.number * PART_IDS, (self.number + 1) * PART_IDS)


def _digests(identity: Column[int], facts: Sequence[ColumnElement[Any]]) -> Select[Any]:
    hashed = func.hashtextextended(func.concat_ws("|", *facts), 0)
    part = identity // literal_column(str(PART_IDS), BigInteger)
    return select(
        part.label("part"), func.count().label("amount"), func.bit_xor(hashed).label("hash")
    )


def _within(identity: Column[int], part: Part) -> list[ColumnElement[bool]]:
    return [identity >= part.ids.start, identity < part.ids.stop]


class Snapshot:
    """A snapshot of the database that several connections share."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine.execution_options(
            isolation_level="REPEATABLE READ", postgresql_readonly=True
        )
        self._name: str | None = None

    @contextmanager
    def open(self) -> "Iterator[Snapshot]":
        """Hold the snapshot until the end of the block."""
        with self.connect() as connection:
            self._name = connection.execute(select(func.pg_export_snapshot())).scalar_one()
            yield self

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """Yield a connection that sees the snapshot."""
        with translate_errors(), self._engine.connect() as connection:
            if self._name is not None:
                connection.execute(text(f"SET TRANSACTION SNAPSHOT '{self._name}'"))
            # The transaction that holds the snapshot is idle for as long as the export takes.
            connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
            yield connection

    def rows(self, statement: Select[Any], at_once: int = ROWS_AT_ONCE) -> Iterator[Row[Any]]:
        """Yield the rows of a statement from a server-side cursor, which fetches `at_once` rows at a time."""
        with self.connect() as connection:
            yield from connection.execution_options(yield_per=at_once).execute(statement)

    def parts(self, selection: ExportSelection, statement: Select[Any]) -> list[Part]:
        """Return the parts that a statement of digests selects, in order."""
        parts = map(selection.part, self.rows(statement))
        return sorted(parts, key=lambda part: part.number)
