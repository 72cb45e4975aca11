"""A client for Prefect servers, and migrated databases for them."""

import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import httpx

from tests.support.commands import environment
from tests.support.make_once import make_once
from tests.support.warm_python import warm_python

ATTEMPTS = 100
SERVER_IS_BUSY = 503
"""The SQLite file of the server is locked. Prefect's own client repeats the request, and so does ours."""
SERVER_VARIABLES = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_API_BLOCKS_REGISTER_ON_START": "false",
    "PREFECT_API_DATABASE_MIGRATE_ON_START": "false",
    "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "2",
    "PREFECT_SERVER_SERVICES_SCHEDULER_MIN_SCHEDULED_TIME": "PT3M",
}
"""Variables for servers with a migrated database. They plan runs at once, and a few instead of a hundred."""


class Prefect:
    """A client for the API of a Prefect server; `password` is `user:password`."""

    def __init__(self, api: str, password: str | None = None) -> None:
        self.api = api
        self.auth = httpx.BasicAuth(*password.split(":")) if password else None

    def call(self, method: str, path: str, fields: dict[str, Any] | None = None) -> httpx.Response:
        url = f"{self.api}/{path}"
        for _ in range(ATTEMPTS):
            # reading the certificates of the machine takes time, and HTTP does not need them
            answer = httpx.request(
                method, url, json=fields, auth=self.auth, timeout=600, verify=False
            )
            if answer.status_code != SERVER_IS_BUSY:
                break
            time.sleep(0.2)
        return answer.raise_for_status()

    def find(self, collection: str, **filters: Any) -> list[Any]:
        rows = self.call("POST", f"{collection}/filter", filters).json()
        assert isinstance(rows, list)
        return rows

    def deployments(self) -> dict[str, Any]:
        """Return the deployments by name."""
        return {deployment["name"]: deployment for deployment in self.find("deployments")}

    def run_now(self, deployment: str, **fields: Any) -> str:
        """Plan a run for now; return its id."""
        deployment_id = self.deployments()[deployment]["id"]
        run = self.call("POST", f"deployments/{deployment_id}/create_flow_run", fields).json()
        return str(run["id"])

    def runs(self, deployment: str, *states: str, **filters: Any) -> list[Any]:
        """Return the runs of a deployment in these states, by expected start time."""
        deployments = {"name": {"any_": [deployment]}}
        if states:
            filters["state"] = {"name": {"any_": states}}
        order = "EXPECTED_START_TIME_ASC"
        return self.find("flow_runs", sort=order, deployments=deployments, flow_runs=filters)

    def last_run(self) -> dict[str, Any]:
        """Return the flow run that began last."""
        (run,) = self.find("flow_runs", sort="START_TIME_DESC", limit=1)
        assert isinstance(run, dict)
        return run


def add_database(home: Path) -> None:
    """Copy a migrated database into a PREFECT_HOME, because to migrate a new one takes seven seconds."""
    for folder in (home.parent, home):
        folder.mkdir(mode=0o700, exist_ok=True)  # the mode that our program and Prefect use
    shutil.copy(make_once("prefect-template", migrate) / "prefect.db", home)


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
