"""Rejects files that do not have the projection, pixel size and dtype of the other files of their raster source.

The SQL function `grid_mismatch` defines which files fit. Rejected files keep their metadata, so that a later vote can
accept them without reading them again.
"""

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import Connection

from pipeline.catalogue.comparison import Comparison
from pipeline.catalogue.sync_runs import RunReport
from pipeline.catalogue.write_sources import lock_sources
from pipeline.database.queries import queries
from pipeline.errors import RasterError, Rejection

QUERIES = queries("grid_consistency")


def evict_misfits(
    connection: Connection, parameters: dict[str, Any], sources: Collection[int]
) -> list[Rejection]:
    """Reject the files of a batch that do not fit the other files of their locked sources.

    `parameters` has `definition`, `organisation_id` and `uris`, the files that were read. Missing files that do not fit
    are removed too. Other files stay.
    """
    if not sources:
        return []
    connection.execute(QUERIES["find_model"], {**parameters, "sources": list(sources)})
    evicted = connection.execute(QUERIES["evict"], {**parameters, "everything": False})
    return [Rejection(*row) for row in evicted]


def check_upload(connection: Connection) -> None:
    """Raise RasterError when the staged file does not fit the files of its source."""
    misfit = connection.execute(QUERIES["find_misfit_of_upload"]).first()
    if misfit is not None:
        code, message = misfit
        raise RasterError(message, code)


def find_grid_conflict(comparison: Comparison) -> tuple[Sequence[str], Sequence[str]]:
    """Return the URIs of rejected files that `elect_grids` would accept, and of files that it would reject.

    It takes no locks.
    """
    names = _definition_parameters(comparison)
    with comparison.transaction() as connection:
        connection.execute(QUERIES["find_misfits"], names)
        connection.execute(QUERIES["elect_grids"], names)
        accepted = connection.execute(QUERIES["get_accepted"], names).scalars().all()
        evicted = connection.execute(QUERIES["get_evicted"], names).scalars().all()
    return accepted, evicted


def elect_grids(
    comparison: Comparison, organisation_id: int, rejected: Collection[str]
) -> RunReport:
    """Keep in each source of the definition the largest group of files that fit each other; reject the others.

    `rejected` are the URIs that the run has rejected so far. Returns the changes to the report of the run. It locks no
    source when nothing changes, so that uploads need not wait.
    """
    if not any(find_grid_conflict(comparison)):
        return RunReport()
    names = {**_definition_parameters(comparison), "organisation_id": organisation_id}
    with comparison.transaction() as connection:

        def execute(name: str, **more: Any) -> Any:
            return connection.execute(QUERIES[name], {**names, **more})

        with lock_sources(connection, execute("find_contested").scalars()):
            execute("find_misfits")
            execute("elect_grids")
            evicted = [Rejection(*row) for row in execute("evict", everything=True, uris=[])]
            accepted = execute("accept").all()
        uris = {rejection.uri for rejection in evicted}
        counts = execute("count_evicted", uris=sorted(uris.difference(rejected))).one()
    revised = {row.uri for row in accepted} | uris.intersection(rejected)
    report = RunReport(rejected=evicted, revised=revised)
    report.add(RunReport(**counts._mapping))
    report.add(RunReport(registered=len(accepted), bytes=sum(row.size for row in accepted)))
    return report


def _definition_parameters(comparison: Comparison) -> dict[str, str]:
    definition = comparison.definition
    return {"definition": definition.id, "reading_hash": definition.reading_hash()}
