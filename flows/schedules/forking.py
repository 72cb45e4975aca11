"""Has Prefect start runs as forks of one process that has imported everything.

Prefect starts a new Python for each run, whose imports take 2.4 seconds of CPU: too much for a schedule of some
seconds, and what delays runs most on a machine that is busy.
"""

import multiprocessing
from types import SimpleNamespace

from prefect import flow_engine

IMPORTED = [
    "flows.sync",
    "pipeline.database.schema_version",
    "pipeline.raster",
    "prefect.client.orchestration",
    "prefect.flow_engine",
    "prefect.logging.handlers",
]
"""What a run needs. None of it opens a connection or starts a thread of Python's when it is imported."""


def fork_runs() -> None:
    """From now on; in this process, which starts nothing else by way of Prefect."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(IMPORTED)
    # Prefect has no setting for this: it asks the module for the context "spawn"
    vars(flow_engine)["multiprocessing"] = SimpleNamespace(
        get_context=lambda _name: context, context=multiprocessing.context
    )
