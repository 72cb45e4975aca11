"""Records the files in the storage of uploads before their first byte is written, and deletes only recorded files.

A server that receives files holds an advisory lock with its number in an open transaction. When the server ends, the
lock is released, and the files that it was receiving may be deleted.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from sqlalchemy import Engine, TextClause

from pipeline.catalogue import downloads
from pipeline.catalogue.upload_states import OPEN_STATES
from pipeline.database.engine import execute
from pipeline.database.queries import queries
from pipeline.errors import CatalogueError
from pipeline.storage.uploads import UploadStore

QUERIES = queries("upload_files")
RECEIVER_LOCK = 0x52435644
"""First key of the advisory locks of servers that receive files ("RCVD"); the view `received_files` has it too. The
second key is the number of the server, or 0 for the lock of reservations."""
BATCH_SIZE = 1000
ADVICE = (
    "set RASTERSOURCES_UPLOADS to a storage for this catalogue alone, or set RASTERSOURCES_DATABASE_URL to the "
    "database of the other one; if the other catalogue no longer exists, run: rastersources uploads take-over"
)


def select_unneeded(uris: Sequence[str] | None = None) -> TextClause:
    """Select the `uri` of files that can be deleted, among `uris` or all files."""
    wanted = None if uris is None else list(uris)
    return QUERIES["select_unneeded"].bindparams(uris=wanted, open_states=OPEN_STATES)


def discard_unneeded(
    engine: Engine, store: UploadStore, uris: Sequence[str] | None = None
) -> list[str]:
    """Delete recorded files of this storage that are not needed, among `uris` or all files; return their URIs."""
    discarded = [row.uri for row in execute(engine, select_unneeded(uris)) if store.owns(row.uri)]
    for batch in in_batches(discarded):
        store.discard(batch)
        execute(engine, QUERIES["forget"], uris=batch)
    return discarded


def in_batches(uris: Iterable[str]) -> Iterator[list[str]]:
    """Yield URIs BATCH_SIZE at a time."""
    remaining = iter(uris)
    return iter(lambda: list(islice(remaining, BATCH_SIZE)), [])


def sweep(engine: Engine, store: UploadStore) -> list[str]:
    """Delete files that are not needed, such as those that a killed server was receiving; return their URIs."""
    execute(engine, QUERIES["mark_abandoned"])
    execute(engine, downloads.QUERIES["sweep"])
    return discard_unneeded(engine, store)


def list_unrecorded(engine: Engine, store: UploadStore) -> Iterator[str]:
    """Yield the files in the storage that this catalogue did not record, and therefore never deletes."""
    for batch in in_batches(store.uris()):
        yield from _unrecorded(engine, batch)


def _unrecorded(engine: Engine, uris: Sequence[str]) -> list[str]:
    recorded = {row.uri for row in execute(engine, QUERIES["find_recorded"], uris=uris)}
    return [uri for uri in uris if uri not in recorded]


def claim_storage(engine: Engine, store: UploadStore, *, by_force: bool = False) -> None:
    """Mark the storage as that of this catalogue; `by_force` replaces the mark of another catalogue.

    A storage without a mark is claimed if it is empty or has a file that this catalogue recorded. Raises CatalogueError
    for the storage of another catalogue, and TransientError.
    """
    identity = get_identity(engine)
    owner = store.owner()
    if owner is None and not by_force:
        _require_recorded_file(engine, store)
    if owner is None or (by_force and owner != identity):
        store.mark(identity, replace=by_force)
        owner = store.owner()
    if owner != identity:
        raise CatalogueError(
            f"the storage of uploads {store.name} belongs to another catalogue (its mark is {owner}, that of this "
            f"catalogue is {identity}); {ADVICE}"
        )


def get_identity(engine: Engine) -> str:
    """Return the identity of this catalogue; create it at the first call."""
    rows = execute(engine, QUERIES["get_identity"])
    if not rows:
        execute(engine, QUERIES["create_identity"])
        rows = execute(engine, QUERIES["get_identity"])
    return str(rows[0].uuid)


def _require_recorded_file(engine: Engine, store: UploadStore) -> None:
    """Raise CatalogueError if the storage has files and this catalogue recorded none of them."""
    unrecorded = None
    for batch in in_batches(store.uris()):
        strange = _unrecorded(engine, batch)
        if len(strange) < len(batch):
            return
        unrecorded = unrecorded or strange[0]
    if unrecorded:
        raise CatalogueError(
            f"the storage of uploads {store.name} has files, such as {unrecorded}, but this catalogue recorded none "
            f"of them; {ADVICE}"
        )
