"""The files in the storage of uploads. Each is recorded before its first byte is written; no other file is deleted.

A server that receives files holds an advisory lock of its number in an open transaction. The lock ends with the
server, and the files that it was receiving are given up then.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Engine,
    Executable,
    Select,
    TextClause,
    delete,
    func,
    insert,
    literal_column,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import insert as insert_or_ignore

from pipeline.catalogue.upload_states import OPEN_STATES
from pipeline.database.engine import begin, execute
from pipeline.database.queries import queries
from pipeline.database.tables import catalogue_identity, raster_sources, upload_files
from pipeline.errors import CatalogueError
from pipeline.storage.uploads import UploadStore

QUERIES = queries("upload_files")
RECEIVER_LOCK = 0x52435644
"""First number of the locks of servers that receive files ("RCVD"); the second is the server's."""
RESERVATION_LOCK = 0
"""Second number of the lock of reservations; no server has it."""
BATCH_SIZE = 1000
MINUTES_TO_FORGET = 10
"""A file is deleted again at each sweep until it is this old, because a bucket may complete it late."""
ADVICE = (
    "give this catalogue a storage of its own by RASTERSOURCES_UPLOADS, or set RASTERSOURCES_DATABASE_URL to the "
    "database of the other one; if the other catalogue is gone for good, run: rastersources uploads take-over"
)

# Whether the server that receives a file is alive.
RECEIVER_IS_ALIVE: ColumnElement[bool] = literal_column(f"""
    EXISTS (SELECT FROM pg_locks AS held
            WHERE held.locktype = 'advisory' AND held.granted AND held.objsubid = 2
              AND held.database = (SELECT oid FROM pg_database WHERE datname = current_database())
              AND held.classid = {RECEIVER_LOCK} AND held.objid = upload_files.receiver::oid)
""")  # noqa: S608 - the part is a constant
IS_RECEIVED = upload_files.c.receiver.is_not(None)
NOT_RECEIVED = {"receiver": None, "reserved": 0, "changed": func.now()}


def hold_receiver(number: int) -> TextClause:
    """Hold the lock of a server until its transaction ends."""
    return QUERIES["hold_receiver"].bindparams(lock=RECEIVER_LOCK, receiver=number)


def limit_lock_wait(milliseconds: int) -> TextClause:
    """Let the statements of a transaction wait no longer than this for a lock."""
    statement = text("SELECT set_config('lock_timeout', :limit, true)")
    return statement.bindparams(limit=f"{milliseconds}ms")


def lock_source(source_id: int) -> Select[Any]:
    """Keep a raster source from being deleted until the transaction ends; no row if it is gone."""
    source = select(raster_sources.c.id).where(raster_sources.c.id == source_id)
    return source.with_for_update(key_share=True, read=True)


def lock_file(uri: str, receiver: int) -> Select[Any]:
    """Lock the row of a file that this server receives; no row if it was given up."""
    return select(upload_files.c.uri).where(*_received_by(uri, receiver)).with_for_update()


def lock_reservations() -> TextClause:
    """Wait until no other reservation is being made, and hold others off until the transaction ends.

    It must be the last lock that a transaction takes. One that waits for a row while holding it stops all uploads.
    """
    return text(f"SELECT pg_advisory_xact_lock({RECEIVER_LOCK}, {RESERVATION_LOCK})")


def begin_receiving(uri: str, source_id: int, receiver: int, reserved: int) -> Executable:
    """Record a file before it is written, and reserve bytes for it. Its source must be locked."""
    values = {"uri": uri, "source_id": source_id, "receiver": receiver, "reserved": reserved}
    return insert(upload_files).values(values)


def update_reservation(uri: str, receiver: int, reserved: int) -> Executable:
    """Reserve another number of bytes for a file. Its row must be locked."""
    return update(upload_files).where(*_received_by(uri, receiver)).values(reserved=reserved)


def end_receiving(uri: str, receiver: int) -> Executable:
    """Record that a file is no longer being written; return no row if it was given up before."""
    statement = update(upload_files).where(*_received_by(uri, receiver)).values(NOT_RECEIVED)
    return statement.returning(upload_files.c.uri)


def _received_by(uri: str, receiver: int) -> tuple[ColumnElement[bool], ...]:
    return upload_files.c.uri == uri, upload_files.c.receiver == receiver


def select_receiving() -> Select[Any]:
    """Select `uri` and `reserved` of the files that living servers receive."""
    return select(upload_files.c.uri, upload_files.c.reserved).where(IS_RECEIVED, RECEIVER_IS_ALIVE)


def reserved_bytes(*where: ColumnElement[bool]) -> Select[Any]:
    """Select the bytes reserved for files that are being sent to some raster sources."""
    return (
        select(func.coalesce(func.sum(upload_files.c.reserved), 0))
        .join(raster_sources, raster_sources.c.id == upload_files.c.source_id)
        .where(IS_RECEIVED, RECEIVER_IS_ALIVE, *where)
    )


def select_unneeded(uris: Sequence[str] | None = None) -> TextClause:
    """Select the `uri` of files that can be deleted; of these files, or of all."""
    wanted = None if uris is None else list(uris)
    return QUERIES["select_unneeded"].bindparams(uris=wanted, open_states=OPEN_STATES)


def forget(uris: Sequence[str]) -> Executable:
    """Delete the rows of deleted files. Rows of young files stay for a later sweep."""
    young = upload_files.c.changed >= func.now() - text(f"interval '{MINUTES_TO_FORGET} minutes'")
    return delete(upload_files).where(upload_files.c.uri.in_(uris), ~IS_RECEIVED, ~young)


def give_up_receiving() -> Executable:
    """Record that files whose server is gone are no longer being written."""
    return update(upload_files).where(IS_RECEIVED, ~RECEIVER_IS_ALIVE).values(NOT_RECEIVED)


def discard_unneeded(
    engine: Engine, store: UploadStore, uris: Sequence[str] | None = None
) -> list[str]:
    """Delete recorded files of this storage that nothing needs; return their URIs. `uris` limits them to some."""
    discarded = [row.uri for row in execute(engine, select_unneeded(uris)) if store.owns(row.uri)]
    for batch in in_batches(discarded):
        store.discard(batch)
        execute(engine, forget(batch))
    return discarded


def in_batches(uris: Iterable[str]) -> Iterator[list[str]]:
    """Yield URIs BATCH_SIZE at a time."""
    rest = iter(uris)
    return iter(lambda: list(islice(rest, BATCH_SIZE)), [])


def sweep(engine: Engine, store: UploadStore) -> list[str]:
    """Delete files that nothing needs, such as those that a killed server was receiving; return their URIs."""
    execute(engine, give_up_receiving())
    return discard_unneeded(engine, store)


def list_unrecorded(engine: Engine, store: UploadStore) -> Iterator[str]:
    """Yield the files in the storage that this catalogue did not record, and so never deletes."""
    for batch in in_batches(store.uris()):
        yield from _unrecorded(engine, batch)


def _unrecorded(engine: Engine, uris: Sequence[str]) -> list[str]:
    query = select(upload_files.c.uri).where(upload_files.c.uri.in_(uris))
    recorded = {row.uri for row in execute(engine, query)}
    return [uri for uri in uris if uri not in recorded]


def claim_storage(engine: Engine, store: UploadStore, *, by_force: bool = False) -> None:
    """Mark the storage as that of this catalogue; `by_force` replaces the mark of another one.

    A storage without a mark is claimed if it is empty or if a file there is recorded here. Raises CatalogueError for
    the storage of another catalogue, and TransientError.
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
            f"the storage of uploads {store.name} belongs to another catalogue (its mark says {owner}, this one is "
            f"{identity}); {ADVICE}"
        )


def get_identity(engine: Engine) -> str:
    """Return the identity of this catalogue; create it at the first call."""
    query = select(catalogue_identity.c.uuid)
    with begin(engine) as connection:
        identity = connection.execute(query).scalar_one_or_none()
        if identity is None:
            connection.execute(insert_or_ignore(catalogue_identity).on_conflict_do_nothing())
            identity = connection.execute(query).scalar_one()
        return str(identity)


def _require_recorded_file(engine: Engine, store: UploadStore) -> None:
    """Raise CatalogueError if the storage holds files and this catalogue recorded none of them."""
    unrecorded = None
    for batch in in_batches(store.uris()):
        strange = _unrecorded(engine, batch)
        if len(strange) < len(batch):
            return
        unrecorded = unrecorded or strange[0]
    if unrecorded:
        raise CatalogueError(
            f"the storage of uploads {store.name} holds files, such as {unrecorded}, and this catalogue recorded none "
            f"of them; {ADVICE}"
        )
