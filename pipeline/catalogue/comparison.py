"""What a definition's files are now, compared with what the catalogue knows: one listing, one comparison in SQL.

The listing goes into a temporary table of a connection that also holds the definition's lock, so that Python holds
some hundred files at a time, however many there are.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any, Literal, Protocol

import psycopg
from psycopg.rows import TupleRow
from sqlalchemy import Engine

from pipeline.database.engine import translate_errors
from pipeline.database.poolers import require_session
from pipeline.errors import UNSEEN_CODES, Rejection, RunInProgress, TransientError, Unmatched
from pipeline.storage import StoredFile, decode_name, encode_name, path_of

Verdict = Literal["add", "update", "moved", "outdated", "refused", "withheld", "settling"]
TO_READ: tuple[Verdict, ...] = ("add", "update", "moved")
LONGEST_URI = 2500
"""Bytes: an entry of an index holds 2,704, of which the id of a definition takes up to 100."""

MAKE_LISTED = """
    CREATE TEMPORARY TABLE listed (
        position bigint GENERATED ALWAYS AS IDENTITY, uri text, size bigint, fingerprint text, modified_ns bigint,
        sidecars text[]
    )
"""
COPY_LISTED = "COPY listed (uri, size, fingerprint, modified_ns, sidecars) FROM STDIN"

# All but the files that are registered as they are, read in the same way as now, and whose source has the present
# fields of its definition.
COMPARE = """
    CREATE TEMPORARY TABLE changed AS
    SELECT listed.*, NULL::text AS moved_from, refused.code, refused.message, CASE
        WHEN file.fingerprint = listed.fingerprint AND file.reading_hash = %(reading_hash)s AND file.state = 'present'
            THEN 'outdated'
        WHEN refused.fingerprint = listed.fingerprint AND refused.reading_hash = %(reading_hash)s
            AND refused.code <> ALL (%(unseen)s) THEN 'refused'
        WHEN buried.uri IS NOT NULL THEN 'withheld'
        WHEN abs(%(now)s - listed.modified_ns) <= %(settle)s THEN 'settling' -- clocks differ
        WHEN file.uri IS NOT NULL THEN 'update'
        ELSE 'add'
    END AS verdict
    FROM listed
    LEFT JOIN raster_files AS file ON file.definition = %(definition)s AND file.uri = listed.uri
    LEFT JOIN rejected_files AS refused ON refused.definition = %(definition)s AND refused.uri = listed.uri
    LEFT JOIN tombstones AS buried ON buried.definition = %(definition)s AND buried.uri = listed.uri
        AND buried.fingerprint = listed.fingerprint
    WHERE (file.fingerprint = listed.fingerprint AND file.reading_hash = %(reading_hash)s AND file.state = 'present')
        IS NOT TRUE
    OR (%(outdated)s AND EXISTS (
        SELECT FROM raster_sources AS source WHERE source.id = file.source_id AND source.definition = %(definition)s
        AND source.definition_hash IS DISTINCT FROM %(hash)s))
"""
ANY_OUTDATED = """
    SELECT EXISTS (SELECT FROM raster_sources
                   WHERE definition = %(definition)s AND definition_hash IS DISTINCT FROM %(hash)s)
"""

# What lies below a folder that could not be listed is not known to be absent.
NOT_LISTED = """
    NOT EXISTS (SELECT FROM listed WHERE listed.uri = known.uri)
    AND NOT EXISTS (SELECT FROM unnest(%(unlisted)s::text[]) AS unlisted (uri)
                    WHERE known.uri = unlisted.uri OR starts_with(known.uri, rtrim(unlisted.uri, '/') || '/'))
"""
FIND_ABSENT = f"""
    CREATE TEMPORARY TABLE absent AS
    SELECT known.uri, known.fingerprint, known.state FROM raster_files AS known
    WHERE %(complete)s AND known.definition = %(definition)s AND {NOT_LISTED}
"""  # noqa: S608 - the part is a constant
# Refusals of what is gone, or of what could not be looked at and is again as it is registered.
CLEARED = f"""
    FROM rejected_files AS known WHERE known.definition = %(definition)s AND ({NOT_LISTED} OR EXISTS (
        SELECT FROM listed JOIN raster_files AS file USING (uri, fingerprint)
        WHERE file.definition = %(definition)s AND file.uri = known.uri AND file.state = 'present'
        AND file.reading_hash = %(reading_hash)s))
"""
STILL_REFUSED = """
    UPDATE rejected_files AS refused
    SET last_seen = now(), organisation_id = coalesce(%(organisation_id)s, refused.organisation_id) FROM changed
    WHERE refused.definition = %(definition)s AND refused.uri = changed.uri AND changed.verdict = 'refused'
"""

# A new file with the fingerprint that one absent file had, which was there until now, and no other of either kind.
FIND_MOVED = """
    WITH gone AS (
        SELECT fingerprint, min(uri) AS uri FROM absent GROUP BY fingerprint
        HAVING count(*) = 1 AND min(state) = 'present'
    ), come AS (
        SELECT fingerprint, min(position) AS position FROM changed WHERE verdict = 'add'
        GROUP BY fingerprint HAVING count(*) = 1
    ), moved AS (
        UPDATE changed SET verdict = 'moved', moved_from = gone.uri
        FROM gone JOIN come USING (fingerprint) WHERE changed.position = come.position
        RETURNING gone.uri
    )
    DELETE FROM absent USING moved WHERE absent.uri = moved.uri
"""

GET_MOVED = "SELECT position, moved_from, uri FROM changed WHERE verdict = 'moved'"
RETURN_ABSENT = """
    INSERT INTO absent
    SELECT known.uri, known.fingerprint, known.state FROM changed
    JOIN raster_files AS known ON known.definition = %(definition)s AND known.uri = changed.moved_from
    WHERE changed.position = ANY (%(positions)s)
"""
NOT_MOVED = """
    UPDATE changed SET verdict = 'add', moved_from = NULL WHERE position = ANY (%(positions)s)
"""

# A file that moved and did not come in at its new place, being seen and refused or withheld there, is gone from the old
# one. Where it could not be looked at, the next run finds it moved again.
LEFT_BEHIND = """
    INSERT INTO absent
    SELECT known.uri, known.fingerprint, known.state FROM changed
    JOIN raster_files AS known ON known.definition = %(definition)s AND known.uri = changed.moved_from
    WHERE changed.verdict = 'moved' AND NOT EXISTS (
        SELECT FROM rejected_files AS refused WHERE refused.definition = %(definition)s AND refused.uri = changed.uri
        AND refused.code = ANY (%(unseen)s))
"""

GET_BATCH = """
    SELECT verdict, moved_from, code, message, position, uri, size, fingerprint, modified_ns, sidecars
    FROM changed WHERE position > %s ORDER BY position LIMIT %s
"""
GET_FILES = """
    SELECT uri, size, fingerprint, modified_ns, sidecars FROM listed WHERE uri = ANY (%s) ORDER BY uri COLLATE "C"
"""

LOCK = "SELECT pg_try_advisory_lock(hashtextextended(%s, 0))"
SHARE_LOCK = "SELECT pg_advisory_lock_shared(hashtextextended(%s, 0))"
UNLOCK = "SELECT pg_advisory_unlock(hashtextextended(%s, 0))"
HOLDS_LOCK = (
    "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid())"
)


@dataclass(frozen=True)
class ChangedFile:
    """A file that is not simply unchanged."""

    verdict: Verdict
    file: StoredFile
    moved_from: str | None = None
    """The URI under which it was known; for `moved` alone."""
    rejection: Rejection | None = None
    """Why it was refused before; for `refused` alone."""


@dataclass(frozen=True)
class MissingCounts:
    """Which of a definition's files were not found."""

    known: int
    """Files that the last run knew to be there."""
    missing: int
    """Those of them that are not there now, nor moved."""
    marked: int
    """Files that an earlier run already found missing."""

    @property
    def percent(self) -> float:
        """Missing files as a part of the known ones."""
        return 100 * self.missing / self.known if self.known else 0.0


IsOtherStep = Callable[[str, str], bool]
"""Whether, of two URIs, a file cannot have moved from the one to the other."""


class ComparedDefinition(Protocol):
    """What says which files there are: a definition or a drop folder."""

    @property
    def id(self) -> str:
        """Its stable name."""

    def hash(self) -> str:
        """Changes when the fields of its raster sources do."""

    def reading_hash(self) -> str:
        """Changes when its files must be read again though they are the same."""


class Comparison:
    """The files of one definition, listed and compared."""

    def __init__(
        self, connection: psycopg.Connection[TupleRow], definition: ComparedDefinition
    ) -> None:
        self.definition = definition
        self.unlisted: list[Rejection] = []
        """What could not be listed: files, or folders with all that is below them."""
        self.count = 0
        """Files that were listed."""
        self.connection = connection
        """Its own, in autocommit mode; holds the lock and the temporary tables `listed`, `changed` and `absent`."""

    def fill(self, files: Iterable[StoredFile | Rejection]) -> None:
        """List."""
        with translate_errors():
            self.connection.execute(MAKE_LISTED)
            with self.connection.cursor().copy(COPY_LISTED) as copy:
                for file in map(reject_long_uri, files):
                    if isinstance(file, Rejection):
                        self.unlisted.append(file)
                    else:
                        copy.write_row(row_of(file))
                        self.count += 1
            self.connection.execute("ALTER TABLE listed ADD PRIMARY KEY (uri)")
            self.connection.execute("ANALYZE listed")

    def compare(
        self, settle_seconds: float, *, complete: bool, apart: IsOtherStep = lambda *_: False
    ) -> None:
        """Give each file its verdict; `complete` says that what is not listed is missing or, if not `apart`, moved."""
        parameters: dict[str, Any] = {
            **self._parameters(),
            "hash": self.definition.hash(),
            "unseen": list(UNSEEN_CODES),
            "now": time.time_ns(),
            "settle": int(settle_seconds * 1e9) - 1,
        }
        with translate_errors():
            (parameters["outdated"],) = self._one(ANY_OUTDATED, parameters)
            self.connection.execute(COMPARE, parameters)
            self.connection.execute("ALTER TABLE changed ADD PRIMARY KEY (position)")
            self.connection.execute(FIND_ABSENT, {**parameters, "complete": complete})
            self.connection.execute(FIND_MOVED)
            self._tell_apart(apart)

    def _tell_apart(self, apart: IsOtherStep) -> None:
        """Let those of the moved files be new and missing ones that cannot have moved."""
        with self.connection.transaction(), self.connection.cursor("moved") as moved:
            moved.execute(GET_MOVED)
            positions = [position for position, old, new in moved if apart(old, new)]
            parameters = {**self._parameters(), "positions": positions}
            self.connection.execute(RETURN_ABSENT, parameters)
            self.connection.execute(NOT_MOVED, parameters)

    def add_left_behind(self) -> None:
        """Once all is brought in: what is still known where it moved from is missing."""
        with translate_errors():
            self.connection.execute(
                LEFT_BEHIND, {**self._parameters(), "unseen": list(UNSEEN_CODES)}
            )

    def counts(self) -> dict[str, int]:
        """Verdict -> how many files have it, `unchanged` included."""
        with translate_errors():
            rows = self.connection.execute("SELECT verdict, count(*) FROM changed GROUP BY verdict")
            counts: dict[str, int] = dict(rows.fetchall())
        return {"unchanged": self.count - sum(counts.values()), **counts}

    def batches(self, size: int) -> Iterator[list[ChangedFile]]:
        """All files but the unchanged ones, in the order in which they were listed."""
        position = -1
        while True:
            with translate_errors():
                rows = self.connection.execute(GET_BATCH, (position, size)).fetchall()
            if not rows:
                return
            position = rows[-1][4]
            yield [found(file_of(*row[5:]), *row[:4]) for row in rows]

    def files(self, uris: Sequence[str]) -> list[StoredFile]:
        """Those of the listed files that have these URIs, in the order of the URIs."""
        with translate_errors():
            return [file_of(*row) for row in self.connection.execute(GET_FILES, (list(uris),))]

    def changed_files(self) -> Iterator[StoredFile]:
        """All files but the unchanged ones."""
        for batch in self.batches(1000):
            yield from (one.file for one in batch)

    @property
    def hidden(self) -> list[str]:
        """The URIs of what could not be looked at: below them may be more files than were listed."""
        return [rejection.uri for rejection in self.unlisted if not rejection.seen]

    def count_missing(self) -> MissingCounts:
        """How many files were not found."""
        known = "SELECT count(*) FROM raster_files WHERE definition = %s AND state = 'present'"
        marked = "SELECT count(*) FILTER (WHERE state = 'present'), count(*) FROM absent"
        with translate_errors():
            (there,) = self._one(known, (self.definition.id,))
            missing, all_absent = self._one(marked, ())
        return MissingCounts(there, missing, all_absent - missing)

    def missing_uris(self, *, marked: bool) -> list[str]:
        """The URIs of the files that were not found; `marked` adds those that an earlier run did not find."""
        query = """SELECT uri FROM absent WHERE %s OR state = 'present' ORDER BY uri COLLATE "C" """
        with translate_errors():
            return [uri for (uri,) in self.connection.execute(query, (marked,))]

    def replaced(self) -> set[str]:
        """The URIs of known files whose names are those of something else by now, which is refused."""
        uris = [rejection.uri for rejection in self.unlisted if rejection.seen]
        query = "SELECT uri FROM raster_files WHERE definition = %s AND uri = ANY (%s)"
        with translate_errors():
            rows = self.connection.execute(query, (self.definition.id, uris))
            return {uri for (uri,) in rows}

    def cleared(self) -> int:
        """How many refusals are of files that are not there any more, or as they are registered."""
        with translate_errors():
            (count,) = self._one(f"SELECT count(*) {CLEARED}", self._parameters())
        return int(count)

    def update_rejections(self, owner: int | None, *, complete: bool) -> None:
        """Say that refused files were seen again and, of a complete listing, forget the refusals that ended.

        `owner` is the organisation to which they belong now; None where each has its own.
        """
        parameters = {**self._parameters(), "organisation_id": owner}
        with translate_errors():
            self.connection.execute(STILL_REFUSED, parameters)
            if complete:
                self.connection.execute(f"DELETE {CLEARED}", self._parameters())

    def join(self) -> bool:
        """For a run that may have others beside it: share the lock with them; whether there is none at the moment."""
        with translate_errors():
            (alone,) = self._one(LOCK, (self.definition.id,))
            self.connection.execute(SHARE_LOCK, (self.definition.id,))
            if alone:
                self.connection.execute(UNLOCK, (self.definition.id,))
        return bool(alone)

    def check_lock(self) -> None:
        """Raises TransientError when the connection, and with it the lock, was lost."""
        with translate_errors():
            (held,) = self._one(HOLDS_LOCK, ())
        if not held:
            raise TransientError("the lock of the definition was lost; run it again")

    def _parameters(self) -> dict[str, Any]:
        unlisted = [rejection.uri for rejection in self.unlisted]
        return {
            "definition": self.definition.id,
            "reading_hash": self.definition.reading_hash(),
            "unlisted": unlisted,
        }

    def _one(self, query: str, parameters: Any) -> tuple[Any, ...]:
        row = self.connection.execute(query, parameters).fetchone()
        assert row is not None
        return row


@contextmanager
def open_comparison(
    engine: Engine, definition: ComparedDefinition, *, alone: bool
) -> Iterator[Comparison]:
    """Open a comparison on a connection of its own; `alone` takes the lock, or raises RunInProgress."""
    with translate_errors():
        pooled = engine.raw_connection()
        connection = pooled.driver_connection
        pooled.detach()
    assert isinstance(connection, psycopg.Connection)
    try:
        connection.autocommit = True
        with translate_errors():
            require_session(engine, connection)
            row = connection.execute(LOCK, (definition.id,)).fetchone() if alone else (True,)
        if row != (True,):
            raise RunInProgress(
                f'another run of "{definition.id}" is at work; wait for it, or look for it in sync_runs'
            )
        yield Comparison(connection, definition)
    finally:
        with suppress(
            psycopg.Error
        ):  # by itself it goes a little later, in the way of whoever runs next
            connection.execute("SELECT pg_advisory_unlock_all()")
        connection.close()


def found(
    file: StoredFile,
    verdict: Verdict,
    moved_from: str | None,
    code: str | None,
    message: str | None,
) -> ChangedFile:
    """A row as an object."""
    rejection = None
    if verdict == "refused":
        rejection = Rejection(file.uri, code or "", message or "", file.fingerprint, file.size)
    return ChangedFile(verdict, file, moved_from, rejection)


def reject_long_uri(file: StoredFile | Rejection, target: int = 0) -> StoredFile | Rejection:
    """The same, or its refusal, with the beginning of its URI, where the catalogue cannot hold that.

    `target` is the length of another URI that it is to get.
    """
    if max(len(file.uri), target) <= LONGEST_URI:
        return file
    uri = (
        f"{file.uri[: LONGEST_URI - 100]}...{blake2b(file.uri.encode(), digest_size=8).hexdigest()}"
    )
    if isinstance(file, Rejection):
        return replace(file, uri=uri)
    message = "its path makes a URI of more than 2,500 characters; move it, or shorten names in it"
    return Rejection(uri, Unmatched.code, message)


def row_of(file: StoredFile) -> tuple[str, int, str, int, list[str]]:
    """A file as a row; names of sidecars may be no UTF-8, which the database does not take."""
    sidecars = [encode_name(name) for name in file.sidecars]
    return file.uri, file.size, file.fingerprint, file.modified_ns, sidecars


def file_of(
    uri: str, size: int, fingerprint: str, modified_ns: int, sidecars: Sequence[str]
) -> StoredFile:
    """The file of a row."""
    names = tuple(decode_name(name) for name in sidecars)
    return StoredFile(uri, path_of(uri), size, fingerprint, modified_ns, names)
