"""Files on their way from where they were dropped: a row of `moves` each, until the file is where it is recorded."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine

from pipeline.catalogue.write_sources import lock_sources
from pipeline.database.engine import begin
from pipeline.database.queries import queries
from pipeline.errors import TransientError
from pipeline.storage import decode_name, encode_name

QUERIES = queries("drop_moves")


@dataclass(frozen=True)
class FileMove:
    """A dropped file, and where it goes."""

    uri: str
    target: str
    """The same for a file that stays."""
    fingerprint: str
    """As it was read."""
    sidecars: tuple[str, ...] = ()
    """Names of the files beside it, which go with it."""

    @property
    def stays(self) -> bool:
        """Whether there is nothing to move."""
        return self.uri == self.target

    def beside(self) -> Iterator[tuple[str, str]]:
        """From where to where its sidecars go."""
        below, above = (uri.rpartition("/")[0] for uri in (self.uri, self.target))
        for name in self.sidecars:
            encoded = encode_name(name)
            yield f"{below}/{encoded}", f"{above}/{encoded}"


def begin_move(connection: Connection, definition: str, move: FileMove) -> None:
    """Say that a file is going to be moved; raises TransientError where another one is on its way to the same place."""
    if (
        not move.stays
        and connection.execute(QUERIES["begin"], values(definition, move)).rowcount == 0
    ):
        raise TransientError(f"another file is being moved to {move.target}; run it again")


def pending(engine: Engine, definition: str) -> list[FileMove]:
    """The moves that a run has begun and not ended."""
    with begin(engine) as connection:
        return [
            FileMove(uri, target, fingerprint, tuple(decode_name(name) for name in names))
            for uri, target, fingerprint, names in connection.execute(
                QUERIES["list_pending"], {"definition": definition}
            )
        ]


def taken(engine: Engine, targets: Sequence[str]) -> set[str]:
    """Those of the places that files are on their way to."""
    with begin(engine) as connection:
        return set(connection.execute(QUERIES["find_taken"], {"targets": list(targets)}).scalars())


def end_move(engine: Engine, definition: str, move: FileMove, fingerprint: str) -> None:
    """Say that the file is where it is recorded, with this fingerprint."""
    with begin(engine) as connection:
        if fingerprint != move.fingerprint:
            parameters = {**values(definition, move), "now": fingerprint}
            connection.execute(QUERIES["renew_fingerprint"], parameters)
        connection.execute(QUERIES["end"], values(definition, move))


def relocate(engine: Engine, definition: str, move: FileMove, target: str) -> None:
    """Record the file under another target."""
    with begin(engine) as connection:
        connection.execute(QUERIES["relocate"], {**values(definition, move), "new": target})


def void(engine: Engine, definition: str, move: FileMove) -> None:
    """Forget what was recorded of a file that went away, or became another, before it was moved."""
    parameters = values(definition, move)
    with begin(engine) as connection:
        ids = connection.execute(QUERIES["find_sources"], parameters).scalars()
        with lock_sources(connection, ids):
            connection.execute(QUERIES["forget"], parameters)


def values(definition: str, move: FileMove) -> dict[str, Any]:
    """The columns of a move."""
    return {
        "definition": definition,
        "uri": move.uri,
        "target": move.target,
        "fingerprint": move.fingerprint,
        "sidecars": [encode_name(name) for name in move.sidecars],
    }
