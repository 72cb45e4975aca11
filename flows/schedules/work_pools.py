"""Checks that a work pool of a Prefect server can run our flow, and that its runs cannot choose another program."""

import json
from typing import Any

from prefect.client.orchestration import SyncPrefectClient
from prefect.exceptions import ObjectNotFound
from prefect.workers.process import ProcessWorker

from pipeline.errors import CatalogueError
from pipeline.settings import CHECKOUT

TEMPLATE = CHECKOUT / "docs" / "work-pool.json"
"""A base job template for pools of type process; it lets a run choose nothing."""


def require_pool(client: SyncPrefectClient, name: str) -> None:
    """Raise CatalogueError if there is no such pool, its type is not process, or its runs can choose a program."""
    try:
        pool = client.read_work_pool(name)
    except ObjectNotFound as error:
        raise CatalogueError(
            f'there is no work pool "{name}"; make it with '
            f"`prefect work-pool create {name} --type process --base-job-template {TEMPLATE}`"
        ) from error
    if pool.type != "process":
        raise CatalogueError(
            f'the work pool "{name}" has type {pool.type}; use a pool of type process'
        )
    if chosen := chosen_by_runs(pool.base_job_template):
        raise CatalogueError(
            f'runs in the work pool "{name}" may choose {", ".join(chosen)}, and so any program; forbid that '
            f"with `prefect work-pool update {name} --base-job-template {TEMPLATE}`"
        )


def chosen_by_runs(template: dict[str, Any]) -> list[str]:
    """Return the fields of a job that a base job template takes from the job variables of a run.

    A pool without a template gets Prefect's own from its first worker.
    """
    job = (template or ProcessWorker.get_default_base_job_template())["job_configuration"]
    return sorted(
        field
        for field, value in job.items()
        # Prefect adds the variables of a run to an `env` that is a table, even without a placeholder in it
        if (field == "env" and isinstance(value, dict)) or "{{" in json.dumps(value)
    )
