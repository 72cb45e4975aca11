"""Prefect servers of tests: a client that asks as Prefect's own does, and databases that need no migration."""

import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import httpx

from tests.support.commands import environment
from tests.support.made_once import made_once
from tests.support.warm_python import warm_python

PATIENCE = 100
SERVER_IS_BUSY = 503
"""Its SQLite file was locked just then: Prefect's client asks again, and so do we."""
OF_SERVERS = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_API_BLOCKS_REGISTER_ON_START": "false",
    "PREFECT_API_DATABASE_MIGRATE_ON_START": "false",
    "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "2",
    "PREFECT_SERVER_SERVICES_SCHEDULER_MIN_SCHEDULED_TIME": "PT3M",
}
"""Settings of servers with a migrated database, which plan at once, and a few runs instead of a hundred."""


class Prefect:
    """A Prefect server by the address of its API, and what it asks for: `user:password`."""

    def __init__(self, api: str, password: str | None = None) -> None:
        self.api = api
        self.auth = httpx.BasicAuth(*password.split(":")) if password else None

    def call(self, method: str, path: str, fields: dict[str, Any] | None = None) -> httpx.Response:
        url = f"{self.api}/{path}"
        for _ in range(PATIENCE):
            # unlike a client that may need them, this one does not read the certificates of the machine
            answer = httpx.request(
                method, url, json=fields, auth=self.auth, timeout=600, verify=False
            )
            if answer.status_code != SERVER_IS_BUSY:
                break
            time.sleep(0.2)
        return answer.raise_for_status()

    def ask(self, what: str, **filters: Any) -> list[Any]:
        found = self.call("POST", f"{what}/filter", filters).json()
        assert isinstance(found, list)
        return found

    def deployments(self) -> dict[str, Any]:
        return {one["name"]: one for one in self.ask("deployments")}

    def run_now(self, deployment: str, **fields: Any) -> str:
        """Have a run planned for this moment; its id."""
        number = self.deployments()[deployment]["id"]
        found: str = self.call("POST", f"deployments/{number}/create_flow_run", fields).json()["id"]
        return found

    def runs(self, deployment: str, *states: str, **filters: Any) -> list[Any]:
        """The runs of a deployment in these states, in the order in which they were to begin."""
        deployments = {"name": {"any_": [deployment]}}
        if states:
            filters["state"] = {"name": {"any_": states}}
        order = "EXPECTED_START_TIME_ASC"
        return self.ask("flow_runs", sort=order, deployments=deployments, flow_runs=filters)

    def last_run(self) -> dict[str, Any]:
        """The flow run that began last."""
        (run,) = self.ask("flow_runs", sort="START_TIME_DESC", limit=1)
        assert isinstance(run, dict)
        return run


def add_database(home: Path) -> None:
    """Copy a migrated database into a PREFECT_HOME: the migration of a new one takes a server seven seconds."""
    for folder in (home.parent, home):
        folder.mkdir(mode=0o700, exist_ok=True)  # as our program and Prefect make them
    shutil.copy(made_once("prefect-template", migrate) / "prefect.db", home)


def migrate(home: Path) -> None:
    command: list[str | Path] = [
        warm_python(),
        "-m",
        "prefect",
        "server",
        "database",
        "upgrade",
        "-y",
    ]
    variables = environment(PREFECT_HOME=home, DO_NOT_TRACK="1")
    subprocess.run(command, env=variables, check=True, capture_output=True)
