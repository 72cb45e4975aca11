"""Write what was read: one transaction per batch, set-based, idempotent by URI and fingerprint.

The facts of a batch go by COPY into a staging table; what follows for files and sources is one statement each.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import psycopg
from sqlalchemy import Engine

from pipeline.catalogue.access import Access
from pipeline.catalogue.empty_sources import delete_removable
from pipeline.catalogue.grid_consistency import DROP_MISSING, EVICT, REJECT_MISFITS
from pipeline.catalogue.run_report import RunReport
from pipeline.catalogue.staging import FILE_COLUMNS, FILE_UPDATES, FILE_VALUES, Connection, stage
from pipeline.database.engine import transaction
from pipeline.definitions.definition import Definition
from pipeline.definitions.grouping import SourceGroup, group_of
from pipeline.errors import CatalogueError, MissingTime, RasterError, Rejection
from pipeline.raster import RasterFile
from pipeline.storage import StoredFile, path_of


@dataclass(frozen=True)
class Owner:
    """The organisation and supplier of a definition, found in the database."""

    organisation_id: int
    supplier_id: int | None


@dataclass(frozen=True)
class ReadItem:
    """A file that was read."""

    file: StoredFile
    facts: RasterFile
    moved_from: str | None = None
    """The URI under which it was known before, if it moved."""


@dataclass(frozen=True)
class RejectedItem:
    """A file that was refused, when it was listed or when it was read."""

    rejection: Rejection
    file: StoredFile | None = None
    """None where it could not even be listed."""


@dataclass(frozen=True)
class OutdatedItem:
    """A file that need not be read, but whose source has the fields of an earlier version of the definition."""

    file: StoredFile


BatchItem = ReadItem | RejectedItem | OutdatedItem
"""What a batch consists of."""


@dataclass(frozen=True)
class GroupMove:
    """A file that moved, and where it belonged before and belongs now."""

    before: SourceGroup
    after: SourceGroup
    old_uri: str
    new_uri: str


@dataclass
class Batch:
    """The items of a batch, and the groups of files that they belong to."""

    facts: list[tuple[SourceGroup, RasterFile]] = field(default_factory=list)
    refused: list[tuple[Rejection, str | None]] = field(default_factory=list)
    """With the key of the group, where that is known."""
    names: dict[str, str] = field(default_factory=dict)
    """Key of each group -> name of its source: that of the file that comes first."""
    moves: list[GroupMove] = field(default_factory=list)
    outdated: int = 0

    def take(self, definition: Definition, item: BatchItem) -> None:
        """Sort an item in."""
        match item:
            case ReadItem():
                self._take_facts(definition, item)
            case OutdatedItem(file):
                group = group_of(definition, file)
                self.names.setdefault(group.key, group.name)
                self.outdated += 1
            case RejectedItem(rejection, file):
                self.refused.append((rejection, group_key_of(definition, file)))

    def _take_facts(self, definition: Definition, item: ReadItem) -> None:
        try:
            require_time(definition.temporal, item.facts)
            group = group_of(definition, item.file)
        except RasterError as error:
            self.refused.append((refusal(item, error), group_key_of(definition, item.file)))
            return
        self.facts.append((group, item.facts))
        self.names.setdefault(group.key, group.name)
        if item.moved_from is not None:
            # of sources of several files nobody asks, and the pattern need not fit the old name
            before = (
                group_of(definition, renamed(item.file, item.moved_from))
                if definition.group == "file"
                else group
            )
            self.moves.append(GroupMove(before, group, item.moved_from, item.file.uri))

    @property
    def keys(self) -> dict[str, str | None]:
        """URI of each file that was looked at -> the key of its group; the files that moved under both URIs."""
        return {
            **{rejection.uri: key for rejection, key in self.refused},
            **{fact.uri: group.key for group, fact in self.facts},
            **{move.old_uri: move.after.key for move in self.moves},
        }

    @property
    def uris(self) -> list[str]:
        """Of all files that may enter or leave a source."""
        read = [fact.uri for _, fact in self.facts]
        return [
            *read,
            *(refused.uri for refused, _ in self.refused),
            *(move.old_uri for move in self.moves),
        ]


# The source of a file that moved is found under its new key; its name follows unless people gave it another.
MOVE_GROUPS = """
    UPDATE raster_sources AS source
    SET group_key = moved.key, name = CASE WHEN source.name = moved.old_name THEN moved.name ELSE source.name END
    FROM unnest(%(old_keys)s::text[], %(old_names)s::text[], %(new_keys)s::text[], %(new_names)s::text[])
         AS moved (old_key, old_name, key, name)
    WHERE source.definition = %(definition)s AND source.group_key = moved.old_key
      AND NOT EXISTS (SELECT FROM raster_sources AS other
                      WHERE other.definition = %(definition)s AND other.group_key = moved.key)
"""

# One source per group: made when it is new, and brought up to date when its definition changed, not otherwise; its name
# when the part of the hash changed that is about names.
UPSERT_SOURCES = """
    INSERT INTO raster_sources (uuid, definition, group_key, definition_hash, name, description, organisation_id,
                                access_modifier, supplier_id, supplier_code, temporal, declared_interval)
    SELECT coalesce(%(uuid)s, gen_random_uuid()), %(definition)s, key, %(hash)s, name, %(description)s,
           %(organisation_id)s, %(access_modifier)s, %(supplier_id)s, %(supplier_code)s, %(temporal)s, %(interval)s
    FROM unnest(%(keys)s::text[], %(names)s::text[]) AS found (key, name) ORDER BY key
    ON CONFLICT (definition, group_key) DO UPDATE SET
        name = CASE split_part(raster_sources.definition_hash, '.', 2)
               WHEN split_part(excluded.definition_hash, '.', 2) THEN raster_sources.name ELSE excluded.name END,
        definition_hash = excluded.definition_hash, description = excluded.description,
        organisation_id = excluded.organisation_id, access_modifier = excluded.access_modifier,
        supplier_id = excluded.supplier_id, supplier_code = excluded.supplier_code,
        temporal = excluded.temporal, declared_interval = excluded.declared_interval
    WHERE raster_sources.definition_hash IS DISTINCT FROM excluded.definition_hash
"""

# Whoever else writes to these sources waits; in one order, so that two runs cannot block each other. With an OR between
# the two ways to a source, all sources would be looked at.
LOCK_SOURCES = """
    SELECT id FROM raster_sources WHERE id IN (
        SELECT id FROM raster_sources WHERE definition = %(definition)s AND group_key = ANY (%(keys)s)
        UNION SELECT source_id FROM raster_files WHERE definition = %(definition)s AND uri = ANY (%(uris)s)
        UNION SELECT source.id
        FROM rejected_files AS refused JOIN raster_sources AS source USING (definition, group_key)
        WHERE refused.definition = %(definition)s AND refused.uri = ANY (%(uris)s))
    ORDER BY id FOR UPDATE
"""

# The sources of the definition that files belonged to, registered or refused.
FIND_FORMER = """
    SELECT file.uri, source.id, source.group_key
    FROM raster_files AS file JOIN raster_sources AS source ON source.id = file.source_id
    WHERE file.definition = %(definition)s AND file.uri = ANY (%(uris)s) AND source.definition = %(definition)s
    UNION ALL
    SELECT refused.uri, source.id, source.group_key
    FROM rejected_files AS refused JOIN raster_sources AS source USING (definition, group_key)
    WHERE refused.definition = %(definition)s AND refused.uri = ANY (%(uris)s)
"""

# What people deleted since the files were listed; looked up once the sources are locked, as whoever deletes locks them.
WITHHOLD_GROUPS = """
    DELETE FROM raster_sources AS source USING tombstones AS buried
    WHERE source.definition = %(definition)s AND source.group_key = ANY (%(keys)s)
      AND buried.definition = source.definition AND buried.group_key = source.group_key
"""
WITHHOLD_FILES = """
    DELETE FROM staged USING tombstones AS buried
    WHERE buried.definition = %(definition)s AND (buried.group_key = staged.group_key
       OR buried.uri = staged.uri AND buried.fingerprint = staged.fingerprint)
    RETURNING staged.uri
"""

FIND_SOURCES = """
    UPDATE staged SET source_id = source.id FROM raster_sources AS source
    WHERE source.definition = %(definition)s AND source.group_key = staged.group_key
"""

UPSERT_SYSTEMS = """
    INSERT INTO coordinate_systems (wkt, projection)
    SELECT DISTINCT ON (md5(wkt)) wkt, projection FROM staged ORDER BY md5(wkt)
    ON CONFLICT (wkt_md5) DO NOTHING
"""

# Refused and moved files, and files whose definition now puts them into another source, leave the source they were in.
REMOVE_FILES = """
    DELETE FROM raster_files AS file USING raster_sources AS source
    WHERE source.id = file.source_id AND file.definition = %(definition)s AND file.uri = ANY (%(uris)s) AND (
        file.uri = ANY (%(withdrawn)s) OR EXISTS (
            SELECT FROM staged WHERE staged.uri = file.uri AND staged.group_key <> source.group_key))
"""

UPSERT_FILES = f"""
    INSERT INTO raster_files (source_id, coordinate_system_id, {FILE_COLUMNS})
    SELECT staged.source_id, system.id, {FILE_VALUES}
    FROM staged
    JOIN coordinate_systems AS system ON system.wkt_md5 = md5(staged.wkt)
    ORDER BY staged.position
    ON CONFLICT (source_id, uri) DO UPDATE SET
        coordinate_system_id = excluded.coordinate_system_id, state = 'present', registered = now(), {FILE_UPDATES}
"""  # noqa: S608 - the names are those of the staging table

# Tombstones of files that came in again, since they changed.
FORGET_TOMBSTONES = """
    DELETE FROM tombstones USING staged WHERE tombstones.definition = %(definition)s AND tombstones.uri = staged.uri
"""
FORGET_REJECTIONS = """
    DELETE FROM rejected_files WHERE definition = %(definition)s AND uri IN (SELECT uri FROM staged)
"""
# In one order too.
UPSERT_REJECTIONS = """
    INSERT INTO rejected_files (definition, organisation_id, uri, code, message, fingerprint, group_key, grid,
                                reading_hash)
    SELECT %(definition)s, %(organisation_id)s, rejected.*, %(reading_hash)s
    FROM unnest(%(uris)s::text[], %(codes)s::text[], %(messages)s::text[], %(fingerprints)s::text[],
                %(group_keys)s::text[], %(grids)s::text[]) AS rejected (uri) ORDER BY uri
    ON CONFLICT (definition, uri) DO UPDATE SET
        organisation_id = excluded.organisation_id, code = excluded.code, message = excluded.message,
        fingerprint = excluded.fingerprint, group_key = excluded.group_key, grid = excluded.grid,
        reading_hash = excluded.reading_hash, last_seen = now(), attempts = rejected_files.attempts + 1
"""


def register_batch(
    engine: Engine,
    definition: Definition,
    owner: Owner,
    items: Sequence[BatchItem],
    evicted: Sequence[str] = (),
) -> RunReport:
    """Write one batch in one transaction; what was refused, for whatever reason, is in the report.

    `evicted` are URIs of registered files that give way to those of the batch, which they do not fit.
    Raises TransientError when the database is away, CatalogueError when it does not take the batch.
    """
    batch = Batch()
    for item in items:
        batch.take(definition, item)
    if not items:
        return RunReport()
    try:
        with transaction(engine) as connection:
            withheld, misfits = write(connection, definition, owner, batch, evicted)
    except psycopg.DatabaseError as error:  # not that it is away, which is a TransientError by now
        reason = str(error).partition("\n")[0]
        raise CatalogueError(
            f'the database does not take what "{definition.id}" says of its files ({reason})'
        ) from error
    rejected = [rejection for rejection, _ in batch.refused] + misfits
    lost = {rejection.uri for rejection in rejected} | withheld
    sizes = [fact.size for _, fact in batch.facts if fact.uri not in lost]
    return RunReport(
        registered=len(sizes),
        unchanged=batch.outdated,
        moved=sum(move.new_uri not in lost for move in batch.moves),
        withheld=len(withheld),
        bytes=sum(sizes),
        rejected=rejected,
    )


def write(
    connection: Connection,
    definition: Definition,
    owner: Owner,
    batch: Batch,
    evicted: Sequence[str],
) -> tuple[set[str], list[Rejection]]:
    """Bring the catalogue to what was read; the URIs that are withheld, and the files that do not fit their source."""
    stage(connection, batch.facts, definition.id, definition.reading_hash())
    parameters: dict[str, Any] = {
        **source_parameters(definition, owner),
        "group": definition.group,
        "keys": list(batch.names),
        "names": list(batch.names.values()),
        "uris": [*batch.uris, *evicted],
        "evicted": list(evicted),
        "missing_count": False,
    }
    connection.execute(LOCK_SOURCES, parameters)
    move_groups(connection, batch.moves, parameters)
    connection.execute(UPSERT_SOURCES, parameters)
    # Once more, with those that were made just now.
    locked = [source for (source,) in connection.execute(LOCK_SOURCES, parameters)]
    connection.execute(WITHHOLD_GROUPS, parameters)
    withheld = {uri for (uri,) in connection.execute(WITHHOLD_FILES, parameters)}
    left = left_sources(connection, batch, parameters)
    connection.execute(FIND_SOURCES, parameters)
    gave_way = [Rejection(*row) for row in connection.execute(EVICT, parameters)] if evicted else []
    misfits = [
        (Rejection(*row[:5]), *row[5:]) for row in connection.execute(REJECT_MISFITS, parameters)
    ]
    connection.execute(DROP_MISSING, parameters)
    refused = [(rejection, key, None) for rejection, key in batch.refused] + misfits
    connection.execute(UPSERT_SYSTEMS)
    connection.execute(REMOVE_FILES, {**parameters, "withdrawn": withdrawn(batch, refused)})
    connection.execute(UPSERT_FILES)
    keep_rejections(connection, parameters, refused)
    connection.execute("SELECT derive_sources(%s)", [locked])
    delete_removable(connection, left)
    return withheld, gave_way + [rejection for rejection, *_ in misfits]


def move_groups(
    connection: Connection, moves: Sequence[GroupMove], parameters: dict[str, Any]
) -> None:
    """Give sources of one file, where it moved, their new keys, and their names where those follow the file's."""
    if moves and parameters["group"] == "file":  # elsewhere a file that moves leaves others behind
        lists = {
            "old_keys": [move.before.key for move in moves],
            "old_names": [move.before.name for move in moves],
            "new_keys": [move.after.key for move in moves],
            "new_names": [move.after.name for move in moves],
        }
        connection.execute(MOVE_GROUPS, {**parameters, **lists})


def left_sources(connection: Connection, batch: Batch, parameters: dict[str, Any]) -> list[int]:
    """The ids of sources from which files go to other ones, by now as the definition groups them or by their names."""
    former, keys = connection.execute(FIND_FORMER, parameters).fetchall(), batch.keys
    return sorted({source for uri, source, key in former if keys.get(uri) not in (None, key)})


Kept = tuple[Rejection, str | None, str | None]
"""A refusal, with the key of its group and its class of grid, where these are known."""


def withdrawn(batch: Batch, refused: Sequence[Kept]) -> list[str]:
    """The URIs of files that leave their source: what was seen and refused, and what moved away."""
    seen = [rejection.uri for rejection, *_ in refused if rejection.seen]
    return seen + [move.old_uri for move in batch.moves]


def keep_rejections(
    connection: Connection, parameters: dict[str, Any], refused: Sequence[Kept]
) -> None:
    """Keep what was refused, and forget refusals and tombstones of what is registered now."""
    connection.execute(FORGET_REJECTIONS, parameters)
    connection.execute(FORGET_TOMBSTONES, parameters)
    by_uri = {rejection.uri: (rejection, key, grid) for rejection, key, grid in refused}
    rejections = [rejection for rejection, *_ in by_uri.values()]
    lists = {
        "uris": list(by_uri),
        "codes": [rejection.code for rejection in rejections],
        "messages": [rejection.message for rejection in rejections],
        "fingerprints": [rejection.fingerprint for rejection in rejections],
        "group_keys": [key for _, key, _ in by_uri.values()],
        "grids": [grid for *_, grid in by_uri.values()],
    }
    connection.execute(UPSERT_REJECTIONS, {**parameters, **lists})


TIME_WARNINGS = {"unreadable_time", "impossible_time", "ambiguous_time", "unmatched_pattern"}
"""Codes of warnings that say why a file has no time."""


def require_time(
    temporal: bool,
    facts: RasterFile,
    advice: str = "give a time, or a pattern that finds it in the path",
) -> None:
    """Raises MissingTime where the source is a series and nothing dates the file."""
    if temporal and not facts.times:
        found = [warning.message for warning in facts.warnings if warning.code in TIME_WARNINGS]
        raise MissingTime("; ".join([*(found or ["nothing says its time"]), advice]))


def renamed(file: StoredFile, uri: str) -> StoredFile:
    """The file as it was called before."""
    return replace(file, uri=uri, real_path=path_of(uri))


def refusal(item: ReadItem, error: RasterError) -> Rejection:
    """The refusal of a file that was read."""
    facts = item.facts
    return Rejection(facts.uri, error.code, error.message, facts.fingerprint, facts.size)


def group_key_of(definition: Definition, file: StoredFile | None) -> str | None:
    """The key of the group of a refused file; None where its path does not say."""
    try:
        return group_of(definition, file).key if file else None
    except RasterError:
        return None


def source_parameters(definition: Definition, owner: Owner) -> dict[str, Any]:
    """What a definition says of its raster sources."""
    return {
        "definition": definition.id,
        "uuid": definition.uuid,
        "hash": definition.hash(),
        "reading_hash": definition.reading_hash(),
        "description": definition.description,
        "organisation_id": owner.organisation_id,
        "access_modifier": int(Access[definition.access_modifier]),
        "supplier_id": owner.supplier_id,
        "supplier_code": definition.supplier_code,
        "temporal": definition.temporal,
        "interval": definition.interval,
    }
