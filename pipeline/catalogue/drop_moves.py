"""Writes the table `moves`: dropped files that are recorded under a target and may not have arrived there yet."""

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import Connection, Engine

from pipeline.catalogue.write_sources import lock_sources
from pipeline.database.engine import begin, execute
from pipeline.database.queries import queries
from pipeline.errors import TransientError

QUERIES = queries("drop_moves")


@dataclass(frozen=True)
class FileMove:
    """A dropped file and its target."""

    uri: str
    target: str
    """The new URI; the same as `uri` for a file that stays."""
    fingerprint: str
    """The fingerprint with which it was read."""
    sidecars: tuple[str, ...] = ()
    """Names of the sidecars that move with it, percent-encoded."""

    @property
    def stays(self) -> bool:
        """Whether the file stays where it is."""
        return self.uri == self.target

    @property
    def own_fingerprint(self) -> str:
        """The fingerprint without the digest of the sidecars."""
        return self.fingerprint.partition("+")[0]

    def sidecar_moves(self) -> Iterator[tuple[str, str]]:
        """Yield the old and the new URI of each sidecar."""
        source, target = (uri.rpartition("/")[0] for uri in (self.uri, self.target))
        for name in self.sidecars:
            yield f"{source}/{name}", f"{target}/{name}"


def begin_move(connection: Connection, definition: str, move: FileMove) -> None:
    """Record that a file will be moved; raise TransientError if another file is being moved to the same target."""
    if move.stays:
        return
    parameters = {**vars(move), "sidecars": list(move.sidecars), "definition": definition}
    if connection.execute(QUERIES["begin"], parameters).rowcount == 0:
        raise TransientError(f"another file is being moved to {move.target}; run it again")


def list_pending_moves(engine: Engine, definition: str) -> list[FileMove]:
    """Return the moves that a run has begun but not ended."""
    rows = execute(engine, QUERIES["list_pending"], definition=definition)
    return [FileMove(row.uri, row.target, row.fingerprint, tuple(row.sidecars)) for row in rows]


def is_target_taken(engine: Engine, target: str) -> bool:
    """Return whether a file is being moved to a URI."""
    return bool(execute(engine, QUERIES["find_target"], target=target))


def end_move(engine: Engine, definition: str, move: FileMove, fingerprint: str) -> None:
    """Record that a file has arrived at its target, with this fingerprint."""
    changed = {"uri": move.uri, "target": move.target, "fingerprint": fingerprint}
    execute(engine, QUERIES["end"], definition=definition, **changed)


def change_target(engine: Engine, definition: str, move: FileMove, target: str) -> None:
    """Record a file and its move under another target."""
    changed = {"uri": move.uri, "target": move.target, "new": target}
    execute(engine, QUERIES["change_target"], definition=definition, **changed)


def cancel_move(engine: Engine, definition: str, move: FileMove) -> None:
    """Delete the records of a file that disappeared or changed before it was moved."""
    parameters = {"definition": definition, "uri": move.uri, "target": move.target}
    with begin(engine) as connection:
        source_ids = connection.execute(QUERIES["find_sources"], parameters).scalars()
        with lock_sources(connection, source_ids):
            connection.execute(QUERIES["cancel"], parameters)
