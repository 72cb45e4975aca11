"""Compares the present files of a definition with the catalogue: one listing, one comparison in SQL.

The listing is written to a temporary table, on the connection that holds the lock of the definition. So Python has only
a few hundred files in memory at a time.
"""

import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import blake2b
from typing import Any, Literal, get_args

from sqlalchemy import Connection, CursorResult, Engine, Row
from sqlalchemy.exc import SQLAlchemyError

from pipeline.database.engine import driver_connection, translate_errors
from pipeline.database.poolers import require_session
from pipeline.database.queries import queries
from pipeline.definitions.definition import Definition
from pipeline.definitions.drop_folder import DropFolder
from pipeline.errors import (
    UNSEEN_CODES,
    RastersourcesError,
    Rejection,
    RunInProgress,
    TransientError,
    Unmatched,
)
from pipeline.storage import Stated, StoredFile, decode_name, encode_name, path_of

QUERIES = queries("comparison")
Verdict = Literal["add", "update", "moved", "outdated", "rejected", "withheld", "settling"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
TO_READ: tuple[Verdict, ...] = ("add", "update", "moved")
NOT_READ = tuple(verdict for verdict in VERDICTS if verdict not in TO_READ)
LONGEST_URI = 2500
"""Maximum length in bytes. An entry of the index holds 2,704, and the id of a definition takes up to 100 of them."""
IsOtherStep = Callable[[str, str], bool]
"""Returns whether a file cannot have moved from the first URI to the second, as they are different time steps."""


@dataclass(frozen=True)
class ChangedFile:
    """A listed file that is not unchanged."""

    verdict: Verdict
    file: StoredFile
    moved_from: str | None = None
    """The former URI of a moved file; None for other files."""
    rejection: Rejection | None = None
    """Why the file was rejected before; only for the verdict `rejected`."""


class Comparison:
    """The files of one definition or drop folder, listed and compared."""

    def __init__(self, connection: Connection, definition: Definition | DropFolder) -> None:
        self.definition = definition
        self.unlisted: list[Rejection] = []
        """Files that could not be listed, and folders in which nothing could be listed."""
        self.count = 0
        """Files that were listed."""
        self.connection = connection
        """A connection in autocommit mode; it has the lock and the tables listed, changed, absent and cleared."""

    def fill(self, files: Iterable[StoredFile | Rejection]) -> None:
        """Write the listed files to the temporary table `listed`."""
        with translate_errors():
            self.execute("create_listed")
            cursor = driver_connection(self.connection).cursor()
            with cursor.copy(QUERIES["copy_listed"].text) as copy:
                for file in map(reject_long_uri, files):
                    if isinstance(file, Rejection):
                        self.unlisted.append(file)
                    else:
                        copy.write_row(_row(file))
                        self.count += 1
            self.execute("index_listed")
            self.execute("analyze_listed")

    def compare(
        self, settle_seconds: float, *, complete: bool, is_other_step: IsOtherStep | None = None
    ) -> None:
        """Compute the verdict of each listed file.

        With `complete`, registered files that are not listed are missing, or moved unless `is_other_step` returns
        True. Files younger than `settle_seconds` get the verdict `settling`.
        """
        parameters: dict[str, Any] = {
            "hash": self.definition.hash(),
            "now": time.time_ns(),
            "settle": int(settle_seconds * 1e9) - 1,
        }
        outdated = self.execute("any_outdated", **parameters).scalar_one()
        self.execute("compare", outdated=outdated, **parameters)
        self.execute("index_changed")
        self.execute("find_absent", complete=complete)
        self.execute("find_cleared")
        self.execute("find_moved")
        if is_other_step is not None:
            with self.transaction():
                moves = self.execute("get_moved", yield_per=1000)
                positions = [position for position, old, new in moves if is_other_step(old, new)]
                self.execute("split_moves", positions=positions)

    def add_left_behind(self) -> None:
        """Count moved files that were not registered at their new URI as missing; call it after writing all files."""
        self.execute("add_left_behind")

    def counts(self) -> dict[str, int]:
        """Return verdict -> number of files, including `unchanged`."""
        counts = {row.verdict: row.files for row in self.execute("count_verdicts")}
        return {"unchanged": self.count - sum(counts.values()), **counts}

    def batches(
        self, size: int, verdicts: Sequence[Verdict] = VERDICTS
    ) -> Iterator[list[ChangedFile]]:
        """Yield the files with these verdicts, in the order of the listing."""
        position, wanted = -1, list(verdicts)
        while rows := self.execute(
            "get_batch", position=position, size=size, verdicts=wanted
        ).all():
            position = rows[-1].position
            yield list(map(_changed_file, rows))

    def changed_files(self) -> Iterator[StoredFile]:
        """Yield all files except the unchanged ones."""
        for batch in self.batches(1000):
            yield from (changed.file for changed in batch)

    @property
    def hidden(self) -> list[str]:
        """The URIs of files and folders that could not be read; unlisted files may lie below these folders."""
        return [rejection.uri for rejection in self.unlisted if not rejection.seen]

    def count_missing(self) -> tuple[int, int]:
        """Return how many files were present at the last run, and how many of them are absent now and did not move."""
        known, missing = self.execute("count_missing").one()
        return known, missing

    def missing_uris(self, *, marked: bool) -> list[str]:
        """Return the URIs of absent files; with `marked` including those that an earlier run marked as missing."""
        return list(self.execute("get_absent", marked=marked).scalars())

    def replaced(self) -> set[str]:
        """Return the URIs of registered files that were replaced by a file that is rejected."""
        uris = [rejection.uri for rejection in self.unlisted if rejection.seen]
        return set(self.execute("get_replaced", uris=uris).scalars())

    def cleared(self) -> int:
        """Return the number of rejections of files that are gone, or that are registered in their present state."""
        return int(self.execute("count_cleared").scalar_one())

    def update_rejections(self, owner: int | None, *, complete: bool) -> None:
        """Record that rejected files were seen again; with `complete` also delete the rejections that ended.

        `owner` is the organisation of the definition; None if each file has its own.
        """
        self.execute("touch_rejections", organisation_id=owner)
        if complete:
            self.execute("delete_cleared")

    def share_lock(self) -> bool:
        """Take the lock in shared mode; return whether no other run holds it."""
        exclusive = bool(self.execute("lock").scalar_one())
        self.execute("share_lock")
        if exclusive:
            self.execute("unlock")
        return exclusive

    def check_lock(self) -> None:
        """Raise TransientError when the connection, and with it the lock, was lost."""
        if not self.execute("holds_lock").scalar_one():
            raise TransientError("the lock of the definition was lost; run it again")

    def execute(
        self, name: str, *, yield_per: int | None = None, **parameters: Any
    ) -> CursorResult[Any]:
        """Run a statement of sql/queries/comparison.sql."""
        options = {"yield_per": yield_per} if yield_per else {}
        every = {
            "definition": self.definition.id,
            "reading_hash": self.definition.reading_hash(),
            "unlisted": [rejection.uri for rejection in self.unlisted],
            "unseen": list(UNSEEN_CODES),
            **parameters,
        }
        with translate_errors():
            return self.connection.execute(QUERIES[name], every, execution_options=options)

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Yield the connection with the temporary tables, in one transaction."""
        with translate_errors(), driver_connection(self.connection).transaction():
            yield self.connection


@contextmanager
def open_comparison(
    engine: Engine, definition: Definition | DropFolder, *, exclusive: bool
) -> Iterator[Comparison]:
    """Yield an empty comparison on a separate connection.

    With `exclusive` it takes the lock of the definition. Raises RunInProgress when another run holds the lock.
    """
    with translate_errors():
        connection = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        driver = driver_connection(connection)
        connection.detach()
    comparison = Comparison(connection, definition)
    try:
        with translate_errors():
            require_session(engine, driver)
            if run := engine.get_execution_options().get("run"):
                comparison.execute("set_run", run=str(run))
        if exclusive and not comparison.execute("lock").scalar_one():
            raise RunInProgress(
                f'another run of "{definition.id}" is in progress; wait until it ends, or look it up in sync_runs'
            )
        yield comparison
    finally:
        # without this PostgreSQL releases the lock a moment after the connection was closed, too late for the next run
        with suppress(SQLAlchemyError, RastersourcesError):
            comparison.execute("unlock_all")
        connection.close()
        driver.close()  # SQLAlchemy does not close a detached connection that was lost


def _changed_file(row: Row[Any]) -> ChangedFile:
    names = tuple(map(decode_name, row.sidecars))
    path, stated = path_of(row.uri), _decode_stated(row.stated)
    file = StoredFile(row.uri, path, row.size, row.fingerprint, row.modified_ns, names, stated)
    if row.verdict != "rejected":
        return ChangedFile(row.verdict, file, row.moved_from)
    rejection = Rejection(file.uri, row.code, row.message, file.fingerprint, file.size)
    return ChangedFile(row.verdict, file, rejection=rejection)


def reject_long_uri(file: StoredFile | Rejection, target: int = 0) -> StoredFile | Rejection:
    """Return the file, or a rejection under a shortened URI when its URI is too long for the catalogue.

    `target` is the length of another URI that the file will get.
    """
    if max(len(file.uri), target) <= LONGEST_URI:
        return file
    digest = blake2b(file.uri.encode(), digest_size=8).hexdigest()
    uri = f"{file.uri[: LONGEST_URI - 100]}...{digest}"
    if isinstance(file, Rejection):
        return replace(file, uri=uri)
    message = "the URI of its path has more than 2,500 characters; move the file, or shorten names in the path"
    return Rejection(uri, Unmatched.code, message)


def _row(file: StoredFile) -> tuple[str, int, str, int, str, str | None]:
    """Return a row of `listed`. Arrays are written as text, because psycopg takes twice as long for a row with a list.

    Names of sidecars are percent-encoded, because they may not be valid UTF-8.
    """
    sidecars = ",".join(map(encode_name, file.sidecars))
    stated = None if file.stated is None else _encode_stated(file.stated)
    return file.uri, file.size, file.fingerprint, file.modified_ns, f"{{{sidecars}}}", stated


def _encode_stated(stated: Stated) -> str:
    return json.dumps((stated.group, stated.name, stated.time and stated.time.isoformat()))


def _decode_stated(values: Sequence[str] | None) -> Stated | None:
    if values is None:
        return None
    group, name, time = values
    return Stated(group, name, datetime.fromisoformat(time) if time else None)
