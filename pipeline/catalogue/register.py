"""Write what was read: one transaction per batch, set-based, idempotent by URI and fingerprint.

The facts of a batch go by COPY into a staging table; what follows for files and sources is one statement each.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Engine

from pipeline.catalogue.access import Access
from pipeline.catalogue.database import transaction
from pipeline.catalogue.staging import FILE_COLUMNS, FILE_UPDATES, FILE_VALUES, Connection, stage
from pipeline.errors import UNSEEN, MissingTime, RasterError, Rejection
from pipeline.raster import RasterFile
from pipeline.sources.definition import Definition
from pipeline.sources.grouping import Group, group_of
from pipeline.storage import StoredFile


@dataclass(frozen=True)
class Owner:
    """The organisation and supplier of a definition, found in the database."""

    organisation_id: int
    supplier_id: int | None


@dataclass(frozen=True)
class Unchanged:
    """A file that is registered as it is, and need not be read."""

    file: StoredFile
    outdated: bool
    """True when its source still has the fields of an earlier version of the definition."""


Item = tuple[StoredFile, RasterFile] | Unchanged | Rejection
"""What a batch consists of: files that were read, that need no reading, or that were refused."""


@dataclass
class Report:
    """What a run did."""

    registered: int = 0
    unchanged: int = 0
    bytes: int = 0
    rejected: list[Rejection] = field(default_factory=list)

    @property
    def listed(self) -> int:
        """All files that were looked at."""
        return self.registered + self.unchanged + len(self.rejected)

    def add(self, other: "Report") -> None:
        """Take in the report of a batch."""
        self.registered += other.registered
        self.unchanged += other.unchanged
        self.bytes += other.bytes
        self.rejected += other.rejected


# Files that are registered as they are, read in the same way as now; and whether their source is up to date.
# OFFSET 0 has each of them found by its URI, whatever the planner thinks of a table that has just been filled.
KNOWN = """
    SELECT file.uri, source.definition_hash IS DISTINCT FROM %(hash)s
    FROM unnest(%(uris)s::text[], %(fingerprints)s::text[]) AS found (uri, fingerprint)
    CROSS JOIN LATERAL (SELECT * FROM raster_files WHERE raster_files.uri = found.uri OFFSET 0) AS file
    JOIN raster_sources AS source ON source.id = file.source_id
    WHERE source.definition = %(definition)s AND file.fingerprint = found.fingerprint
      AND file.reading_hash = %(reading_hash)s AND file.state = 'present'
"""

# One source per group: made when it is new, and brought up to date when its definition changed, not otherwise.
UPSERT_SOURCES = """
    INSERT INTO raster_sources (definition, group_key, definition_hash, name, description, organisation_id,
                                access_modifier, supplier_id, supplier_code, temporal, declared_interval)
    SELECT %(definition)s, key, %(hash)s, name, %(description)s, %(organisation_id)s,
           %(access_modifier)s, %(supplier_id)s, %(supplier_code)s, %(temporal)s, %(interval)s
    FROM unnest(%(keys)s::text[], %(names)s::text[]) AS found (key, name) ORDER BY key
    ON CONFLICT (definition, group_key) DO UPDATE SET
        definition_hash = excluded.definition_hash, name = excluded.name, description = excluded.description,
        organisation_id = excluded.organisation_id, access_modifier = excluded.access_modifier,
        supplier_id = excluded.supplier_id, supplier_code = excluded.supplier_code,
        temporal = excluded.temporal, declared_interval = excluded.declared_interval
    WHERE raster_sources.definition_hash IS DISTINCT FROM excluded.definition_hash
"""

# Whoever else writes to these sources waits; in one order, so that two runs cannot block each other.
LOCK_SOURCES = """
    SELECT id FROM raster_sources
    WHERE definition = %(definition)s AND (group_key = ANY (%(keys)s) OR id IN (
        SELECT source_id FROM raster_files WHERE uri = ANY (%(uris)s)))
    ORDER BY id FOR UPDATE
"""

FIND_SOURCES = """
    UPDATE staged SET source_id = source.id FROM raster_sources AS source
    WHERE source.definition = %(definition)s AND source.group_key = staged.group_key
"""

# A file must agree with the other files of its source, or, where all are new, with the first of them.
REFUSE_MISFITS = """
    WITH model AS (
        SELECT DISTINCT ON (candidate.source_id) candidate.* FROM (
            SELECT file.source_id, 0 AS rank, file.id AS position, system.wkt, system.projection,
                   file.pixelsize_x, file.pixelsize_y, file.dtype
            FROM raster_files AS file
            JOIN coordinate_systems AS system ON system.id = file.coordinate_system_id
            WHERE file.source_id IN (SELECT source_id FROM staged) AND NOT file.uri = ANY (%(uris)s)
            UNION ALL
            SELECT source_id, 1, position, wkt, projection, pixelsize_x, pixelsize_y, dtype FROM staged
        ) AS candidate ORDER BY candidate.source_id, candidate.rank, candidate.position
    ), judged AS (
        SELECT staged.position, CASE
            WHEN coalesce(staged.projection, staged.wkt) <> coalesce(model.projection, model.wkt)
                THEN 'projection_mismatch'
            WHEN abs(staged.pixelsize_x - model.pixelsize_x) > 1e-6 * abs(model.pixelsize_x)
              OR abs(staged.pixelsize_y - model.pixelsize_y) > 1e-6 * abs(model.pixelsize_y)
                THEN 'pixelsize_mismatch'
            WHEN staged.dtype <> model.dtype THEN 'dtype_mismatch'
        END AS code,
        concat_ws(' ', coalesce(staged.projection, 'a CRS without code'), staged.pixelsize_x, staged.pixelsize_y,
                  staged.dtype) AS own,
        concat_ws(' ', coalesce(model.projection, 'a CRS without code'), model.pixelsize_x, model.pixelsize_y,
                  model.dtype) AS others
        FROM staged JOIN model USING (source_id)
    )
    DELETE FROM staged USING judged
    WHERE staged.position = judged.position AND judged.code IS NOT NULL
    RETURNING staged.uri, judged.code, format(
        'it does not fit the other files of its source: it has %%s, they have %%s; register it as another source',
        own, others), staged.fingerprint, staged.size
"""

UPSERT_SYSTEMS = """
    INSERT INTO coordinate_systems (wkt, projection)
    SELECT DISTINCT ON (md5(wkt)) wkt, projection FROM staged ORDER BY md5(wkt)
    ON CONFLICT (wkt_md5) DO NOTHING
"""

# Refused files, and files whose definition now puts them into another source, leave the source they were in.
REMOVE_FILES = """
    DELETE FROM raster_files AS file USING raster_sources AS source
    WHERE source.id = file.source_id AND source.definition = %(definition)s AND file.uri = ANY (%(uris)s) AND (
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

FORGET_REJECTIONS = """
    DELETE FROM rejected_files WHERE definition = %(definition)s AND uri IN (SELECT uri FROM staged)
"""

KEEP_REJECTIONS = """
    INSERT INTO rejected_files (definition, organisation_id, uri, code, message, fingerprint)
    SELECT %(definition)s, %(organisation_id)s, rejected.*
    FROM unnest(%(uris)s::text[], %(codes)s::text[], %(messages)s::text[], %(fingerprints)s::text[]) AS rejected
    ON CONFLICT (definition, uri) DO UPDATE SET
        organisation_id = excluded.organisation_id, code = excluded.code, message = excluded.message,
        fingerprint = excluded.fingerprint, last_seen = now(), attempts = rejected_files.attempts + 1
"""


def known(
    engine: Engine, definition: Definition, files: Sequence[StoredFile]
) -> dict[str, Unchanged]:
    """Those of the files, by URI, that are registered as they are; they need no reading."""
    by_uri = {file.uri: file for file in files}
    parameters = {
        "uris": list(by_uri),
        "fingerprints": [file.fingerprint for file in by_uri.values()],
        "definition": definition.id,
        "hash": definition.hash(),
        "reading_hash": definition.reading_hash(),
    }
    with transaction(engine) as connection:
        found = connection.execute(KNOWN, parameters).fetchall()
    return {uri: Unchanged(by_uri[uri], outdated) for uri, outdated in found}


def register_batch(
    engine: Engine, definition: Definition, owner: Owner, batch: Sequence[Item]
) -> Report:
    """Write one batch in one transaction; what was refused, for whatever reason, is in the report."""
    rejected = [item for item in batch if isinstance(item, Rejection)]
    unchanged = [item for item in batch if isinstance(item, Unchanged)]
    facts: list[tuple[Group, RasterFile]] = []
    for item in batch:
        if isinstance(item, tuple):
            try:
                facts.append((fitting_group(definition, *item), item[1]))
            except RasterError as error:
                refused = Rejection(
                    item[1].uri, error.code, error.message, item[1].fingerprint, item[1].size
                )
                rejected.append(refused)
    groups = [group_of(definition, one.file) for one in unchanged if one.outdated] + [
        group for group, _ in facts
    ]
    if groups or rejected:
        with transaction(engine) as connection:
            rejected += write(connection, definition, owner, groups, facts, rejected)
    lost = {rejection.uri for rejection in rejected}
    sizes = [fact.size for _, fact in facts if fact.uri not in lost]
    return Report(
        registered=len(sizes), unchanged=len(unchanged), bytes=sum(sizes), rejected=rejected
    )


def fitting_group(definition: Definition, file: StoredFile, facts: RasterFile) -> Group:
    """The group of a file; raises MissingTime where its source is a series and nothing dates the file."""
    refuse_undated(definition.temporal, facts)
    return group_of(definition, file)


def refuse_undated(temporal: bool, facts: RasterFile) -> None:
    """Raises MissingTime where the source is a series and nothing dates the file."""
    if temporal and not facts.times:
        raise MissingTime(
            "nothing says its time; give a time, or a pattern that finds it in the path"
        )


def write(
    connection: Connection,
    definition: Definition,
    owner: Owner,
    groups: Iterable[Group],
    facts: list[tuple[Group, RasterFile]],
    rejected: list[Rejection],
) -> list[Rejection]:
    """Bring the catalogue to what was read; the files that do not fit their source are returned."""
    stage(connection, facts, definition.reading_hash())
    names = {group.key: group.name for group in groups}
    parameters: dict[str, Any] = {
        **fields(definition, owner),
        "keys": list(names),
        "names": list(names.values()),
        "uris": [fact.uri for _, fact in facts] + [rejection.uri for rejection in rejected],
        "withdrawn": [rejection.uri for rejection in rejected if rejection.code not in UNSEEN],
    }
    connection.execute(UPSERT_SOURCES, parameters)
    locked = [source for (source,) in connection.execute(LOCK_SOURCES, parameters)]
    connection.execute(FIND_SOURCES, parameters)
    misfits = [Rejection(*found) for found in connection.execute(REFUSE_MISFITS, parameters)]
    parameters["withdrawn"] += [misfit.uri for misfit in misfits]
    connection.execute(UPSERT_SYSTEMS)
    connection.execute(REMOVE_FILES, parameters)
    connection.execute(UPSERT_FILES)
    keep_rejections(connection, parameters, rejected + misfits)
    connection.execute("SELECT derive_sources(%s)", [locked])
    return misfits


def keep_rejections(
    connection: Connection, parameters: Mapping[str, Any], rejected: list[Rejection]
) -> None:
    """Keep what was refused, and forget refusals of what is registered now."""
    connection.execute(FORGET_REJECTIONS, parameters)
    by_uri = {rejection.uri: rejection for rejection in rejected}
    lists = {
        "uris": list(by_uri),
        "codes": [rejection.code for rejection in by_uri.values()],
        "messages": [rejection.message for rejection in by_uri.values()],
        "fingerprints": [rejection.fingerprint for rejection in by_uri.values()],
    }
    connection.execute(KEEP_REJECTIONS, {**parameters, **lists})


def fields(definition: Definition, owner: Owner) -> dict[str, Any]:
    """What a definition says of its raster sources."""
    return {
        "definition": definition.id,
        "hash": definition.hash(),
        "description": definition.description,
        "organisation_id": owner.organisation_id,
        "access_modifier": int(Access[definition.access_modifier]),
        "supplier_id": owner.supplier_id,
        "supplier_code": definition.supplier_code,
        "temporal": definition.temporal,
        "interval": definition.interval,
    }
