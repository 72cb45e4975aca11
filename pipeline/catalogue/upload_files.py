"""The files in the storage of uploads: each is recorded before its first byte is written, and no other is ever deleted.

A server that receives files holds an advisory lock of its number in a transaction that stays open: so the lock ends
with the server, however that ends, and what the server was receiving is given up then.
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
    bindparam,
    delete,
    func,
    insert,
    literal_column,
    select,
    text,
    update,
)
from sqlalchemy.types import ARRAY, Text

from pipeline.database.engine import begin
from pipeline.database.tables import catalogue_identity, raster_sources, upload_files
from pipeline.errors import CatalogueError
from pipeline.storage.uploads import UploadStore

RECEIVER_LOCK = 0x52435644
"""First number of the locks of servers that receive files ("RCVD"); the second is the server's."""
IN_TURN = 0
"""The number that is no server's: reservations are made one after the other."""
FILES_AT_ONCE = 1000
MINUTES_TO_FORGET = 10
"""For so long a file that was received or given up is deleted again at each sweep: a bucket may complete it late."""

ALIVE = f"""
    EXISTS (SELECT FROM pg_locks AS held
            WHERE held.locktype = 'advisory' AND held.granted AND held.objsubid = 2
              AND held.database = (SELECT oid FROM pg_database WHERE datname = current_database())
              AND held.classid = {RECEIVER_LOCK} AND held.objid = upload_files.receiver::oid)
"""  # noqa: S608 - the part is a constant

# Recorded files that no raster source consists of, that no upload waits with, and that nobody is receiving.
UNNEEDED = """
    SELECT uri FROM upload_files AS kept
    WHERE receiver IS NULL AND (CAST(:uris AS text[]) IS NULL OR uri = ANY (CAST(:uris AS text[])))
      AND NOT EXISTS (SELECT FROM raster_files AS file WHERE file.uri = kept.uri)
      AND NOT EXISTS (SELECT FROM uploads AS upload WHERE upload.uri = kept.uri
                      AND upload.state IN ('requested', 'received', 'processing', 'retry'))
"""


def receiver_is_alive() -> ColumnElement[bool]:
    """Whether the server that receives a file is at work."""
    return literal_column(ALIVE)


def hold_receiver(number: int) -> TextClause:
    """Hold the lock of a server until the transaction ends, which nothing but the server may end."""
    statement = text(f"""
        SELECT set_config('idle_in_transaction_session_timeout', '0', true),
               set_config('tcp_keepalives_idle', '30', true), set_config('tcp_keepalives_interval', '10', true),
               pg_advisory_xact_lock_shared({RECEIVER_LOCK}, :number)
    """)
    return statement.bindparams(number=number)


def limit_lock_wait(milliseconds: int) -> TextClause:
    """Let the statements of a transaction wait no longer than this for a lock."""
    statement = text("SELECT set_config('lock_timeout', :limit, true)")
    return statement.bindparams(limit=f"{milliseconds}ms")


def lock_source(source_id: int) -> Select[Any]:
    """Keep a raster source from being deleted until the transaction ends; no row where it is gone."""
    found = select(raster_sources.c.id).where(raster_sources.c.id == source_id)
    return found.with_for_update(key_share=True, read=True)


def lock_file(uri: str, receiver: int) -> Select[Any]:
    """Keep the row of a file on its way; no row where it was given up meanwhile."""
    return select(upload_files.c.uri).where(*_received_by(uri, receiver)).with_for_update()


def lock_reservations() -> TextClause:
    """Wait until no other reservation is being made; until the end of the transaction.

    It is the last lock that a transaction takes: whoever waits for a row with it would stop all uploads.
    """
    return text(f"SELECT pg_advisory_xact_lock({RECEIVER_LOCK}, {IN_TURN})")


def begin_receiving(uri: str, source_id: int, receiver: int, reserved: int) -> Executable:
    """Record a file that is going to be written, and the bytes that it needs; its source is locked."""
    values = {"uri": uri, "source_id": source_id, "receiver": receiver, "reserved": reserved}
    return insert(upload_files).values(values)


def update_reservation(uri: str, receiver: int, reserved: int) -> Executable:
    """Need more bytes than before; its row is locked."""
    return update(upload_files).where(*_received_by(uri, receiver)).values(reserved=reserved)


def end_receiving(uri: str, receiver: int) -> Executable:
    """Nobody writes the file any more; no row where it was given up before."""
    changed = {"receiver": None, "reserved": 0, "changed": func.now()}
    statement = update(upload_files).where(*_received_by(uri, receiver)).values(changed)
    return statement.returning(upload_files.c.uri)


def _received_by(uri: str, receiver: int) -> tuple[ColumnElement[bool], ...]:
    return upload_files.c.uri == uri, upload_files.c.receiver == receiver


def select_receiving() -> Select[Any]:
    """`uri` and `reserved` of the files that are on their way."""
    return select(upload_files.c.uri, upload_files.c.reserved).where(
        upload_files.c.receiver.is_not(None), receiver_is_alive()
    )


def reserved_bytes(*where: ColumnElement[bool]) -> Select[Any]:
    """Bytes that are reserved for files on their way to some raster sources."""
    return (
        select(func.coalesce(func.sum(upload_files.c.reserved), 0))
        .join(raster_sources, raster_sources.c.id == upload_files.c.source_id)
        .where(upload_files.c.receiver.is_not(None), receiver_is_alive(), *where)
    )


def select_unneeded(uris: Sequence[str] | None = None) -> TextClause:
    """`uri` of the files that can be deleted; of these, or of all."""
    value = None if uris is None else list(uris)
    return text(UNNEEDED).bindparams(bindparam("uris", value, ARRAY(Text)))


def forget(uris: Sequence[str]) -> Executable:
    """Drop the rows of deleted files; those of young ones stay for a later sweep."""
    young = func.now() - text(f"interval '{MINUTES_TO_FORGET} minutes'")
    return delete(upload_files).where(
        upload_files.c.uri.in_(uris),
        upload_files.c.receiver.is_(None),
        upload_files.c.changed < young,
    )


def give_up_receiving() -> Executable:
    """End the receiving of files whose server is gone."""
    changed = {"receiver": None, "reserved": 0, "changed": func.now()}
    is_on_its_way = upload_files.c.receiver.is_not(None)
    return update(upload_files).where(is_on_its_way, ~receiver_is_alive()).values(changed)


def discard_unneeded(
    engine: Engine, deposit: UploadStore, uris: Sequence[str] | None = None
) -> list[str]:
    """Delete those files that are recorded, ours and not needed any more: of these, or of all; their URIs."""
    with begin(engine) as connection:
        found = connection.execute(select_unneeded(uris)).scalars().all()
    unused = [uri for uri in found if deposit.owns(uri)]
    for some in in_batches(unused):
        deposit.discard(some)
        with begin(engine) as connection:
            connection.execute(forget(some))
    return unused


def in_batches(uris: Iterable[str]) -> Iterator[list[str]]:
    """Some of them at a time."""
    rest = iter(uris)
    return iter(lambda: list(islice(rest, FILES_AT_ONCE)), [])


def sweep(engine: Engine, deposit: UploadStore) -> list[str]:
    """Delete files that nothing needs, such as those that a killed server was receiving; their URIs."""
    with begin(engine) as connection:
        connection.execute(give_up_receiving())
    return discard_unneeded(engine, deposit)


def unknown(engine: Engine, deposit: UploadStore) -> list[str]:
    """The files in the storage that this catalogue did not record, and so never deletes."""
    return [uri for some in in_batches(deposit.uris()) for uri in _unrecorded(engine, some)]


def _unrecorded(engine: Engine, uris: Sequence[str]) -> list[str]:
    with begin(engine) as connection:
        query = select(upload_files.c.uri).where(upload_files.c.uri.in_(uris))
        recorded = set(connection.execute(query).scalars())
    return [uri for uri in uris if uri not in recorded]


def claim_storage(engine: Engine, deposit: UploadStore, *, by_force: bool = False) -> None:
    """Mark the storage as that of this catalogue, unless it is marked so; `by_force` replaces the mark of another one.

    A storage without a mark is taken when nothing lies there, or when a file there is recorded here. Raises
    CatalogueError for the storage of another catalogue, and TransientError.
    """
    identity = get_identity(engine)
    owner = deposit.owner()
    if owner is None and not by_force:
        _require_recorded_files(engine, deposit)
    if owner is None or (by_force and owner != identity):
        deposit.mark(identity, replace=by_force)
        owner = deposit.owner()
    if owner != identity:
        raise CatalogueError(
            f"the storage of uploads {deposit.name} belongs to another catalogue (its mark says {owner}, this one is "
            f"{identity}); {ADVICE}"
        )


ADVICE = (
    "give this catalogue a storage of its own by RASTERSOURCES_UPLOADS, or set RASTERSOURCES_DATABASE_URL to the "
    "database of that one; where that catalogue is gone for good, run: rastersources uploads take-over"
)


def get_identity(engine: Engine) -> str:
    """The identity of this catalogue, which is made when it is asked for first."""
    with begin(engine) as connection:
        query = select(catalogue_identity.c.uuid)
        found = connection.execute(query).scalar_one_or_none()
        if found is None:
            connection.execute(
                text("INSERT INTO catalogue_identity DEFAULT VALUES ON CONFLICT DO NOTHING")
            )
            found = connection.execute(query).scalar_one()
        return str(found)


def _require_recorded_files(engine: Engine, deposit: UploadStore) -> None:
    """Raises CatalogueError where files lie in the storage of which this catalogue recorded none."""
    strange = None
    for some in in_batches(deposit.uris()):
        unrecorded = _unrecorded(engine, some)
        if len(unrecorded) < len(some):
            return
        strange = strange or unrecorded[0]
    if strange:
        raise CatalogueError(
            f"the storage of uploads {deposit.name} holds files of which this catalogue recorded none, such as "
            f"{strange}; {ADVICE}"
        )
