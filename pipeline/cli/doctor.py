"""The command that checks this machine for what rastersources needs, and advises what to do about problems."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.cli.bootstrap import (
    database_url,
    home_folder,
    prefect_password_file,
    published_address,
    uploads_location,
)
from pipeline.cli.options import AsJson
from pipeline.cli.ports import bind, next_free_port
from pipeline.cli.terminal import echo, print_document
from pipeline.errors import CatalogueError, RastersourcesError
from pipeline.settings import API_PORT, Settings, settings

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

COLOURS = {"ok": "green", "warning": "yellow", "problem": "red"}
SECONDS_TO_ANSWER = 5


@dataclass(frozen=True)
class Finding:
    """The result of a check."""

    subject: str
    text: str
    state: str = "ok"
    """ok, warning (it works, but needs attention) or problem (something will fail)."""


Findings = Iterator[Finding]


def doctor(
    as_json: AsJson = False,
) -> None:
    """Check the database, PostGIS, PROJ, the storage, Prefect, ports, permissions and versions.

    Each line about a problem has advice. Exit status 0: no problem; 1: at least one. It changes nothing, but starts the
    private cluster for a moment if there is one.
    """
    problems = 0
    for finding in examine(settings()):
        problems += finding.state == "problem"
        if as_json:
            print_document(asdict(finding))
        else:
            line = f"{finding.state:8} {finding.subject:12} {finding.text}"
            echo(line, colour=COLOURS[finding.state])
    raise SystemExit(1 if problems else 0)


def examine(configured: Settings) -> Findings:
    """Run all checks; a check that raises an error does not stop the others."""
    with ExitStack() as stack:
        engine: list[Engine] = []
        checks: dict[str, Callable[[], Findings]] = {
            "versions": check_versions,
            "home": lambda: check_home(configured),
            "database": lambda: check_database(configured, stack, engine),
            "libraries": lambda: check_libraries(configured, engine),
            "uploads": lambda: check_uploads(configured),
            "roots": lambda: check_roots(configured),
            "api": lambda: check_api(configured),
            "prefect": lambda: check_prefect(configured),
        }
        for subject, check in checks.items():
            try:
                yield from check()
            except RastersourcesError as error:
                yield Finding(subject, str(error), "problem")


def check_versions() -> Findings:
    """Report the versions of the program and of Python."""
    from importlib.metadata import version

    own, python = version("rastersources"), sys.version.split()[0]
    yield Finding("versions", f"rastersources {own}, Python {python}")


def check_home(configured: Settings) -> Findings:
    """Check the folder of the database, logs and uploads."""
    home = home_folder(configured)
    existing = next(folder for folder in (home, *home.parents) if folder.exists())
    if not os.access(existing, os.W_OK | os.X_OK):
        raise CatalogueError(
            f"this user cannot write to {existing}; set RASTERSOURCES_HOME to another folder"
        )
    if not home.exists():
        yield Finding("home", f"{home} does not exist yet; the first command creates it")
        return
    yield Finding("home", f"{home} is writable")
    secrets = [prefect_password_file(configured), home / "pgpass"]
    for path in (path for path in secrets if path is not None and path.exists()):
        if path.stat().st_mode & 0o077:
            yield Finding("home", f"other users can read {path}; run: chmod 600 {path}", "problem")


def check_database(configured: Settings, stack: ExitStack, engines: "list[Engine]") -> Findings:
    """Check that the database answers and has all it needs; then append an engine to `engines`."""
    from pipeline.database.engine import begin, open_engine
    from pipeline.database.private_cluster.cluster import Cluster
    from pipeline.database.private_cluster.programs import find_programs

    if not configured.database_url and not Cluster(home_folder(configured)).data.exists():
        yield Finding(
            "database", f"not created yet; the first command creates it with {find_programs(None)}"
        )
        return
    url = stack.enter_context(database_url(configured))
    engine = stack.enter_context(open_engine(url, prepare=configured.prepare))
    with begin(engine) as connection:
        yield from describe_database(connection)
    engines.append(engine)


def describe_database(connection: "Connection") -> Findings:
    """Check the server, its extensions, the schema and the role."""
    from sqlalchemy import text

    from pipeline.database.privileges import EXTENSIONS, describe_server, require_owner
    from pipeline.database.schema_version import current_revision, newest_revision

    facts = describe_server(connection)
    yield Finding("database", f'PostgreSQL {facts.version}, "{facts.database}" as "{facts.role}"')
    versions: dict[str, str] = dict(
        connection.execute(
            text("SELECT extname, extversion FROM pg_extension WHERE extname = ANY (:names)"),
            {"names": list(EXTENSIONS)},
        ).all()  # type: ignore[arg-type]
    )
    for name in EXTENSIONS:
        if name in versions:
            yield Finding(name, f"version {versions[name]}")
        else:
            statement = f"CREATE EXTENSION {name}"
            yield Finding(
                name, f"not installed; ask an administrator to run: {statement}", "problem"
            )
    revision, newest = current_revision(connection), newest_revision()
    if revision == newest:
        require_owner(connection)
        yield Finding("schema", f"up to date ({newest})")
    else:
        now = f"at {revision}" if revision else "not made"
        yield Finding(
            "schema",
            f"{now}; the newest revision is {newest}; the next command migrates it, or: rastersources db migrate",
            "warning",
        )


def check_libraries(configured: Settings, engines: "list[Engine]") -> Findings:
    """Report GDAL and PROJ, and the grid files that the CRSs of the catalogue could use."""
    from pipeline.raster.libraries import find_libraries, missing_grids

    gdal, proj, count = find_libraries()
    yield Finding("gdal", f"GDAL {gdal}")
    grids = f"PROJ {proj}, {count} grid files"
    if configured.crs_policy == "lizard":
        yield Finding("proj", f"{grids}; they are not used, as RASTERSOURCES_CRS_POLICY is lizard")
        return
    yield Finding("proj", grids)
    for projection, names in missing_grids(known_projections(engines)).items():
        commands = "; ".join(f"pyproj sync --file {name}" for name in names)
        advice = (
            f"run: {commands}, then: rastersources db reproject"
            if names
            else "PROJ does not name it"
        )
        yield Finding(
            "proj", f"the best operation for {projection} lacks a grid; {advice}", "warning"
        )


def known_projections(engines: "list[Engine]") -> list[str]:
    """Return the codes of the CRSs in the catalogue; none without a database or a schema."""
    from sqlalchemy import text

    from pipeline.database.engine import begin

    for engine in engines:
        with begin(engine) as connection:
            if connection.scalar(text("SELECT to_regclass('coordinate_systems')")) is not None:
                query = "SELECT DISTINCT projection FROM coordinate_systems WHERE projection <> '' ORDER BY 1"
                return list(connection.execute(text(query)).scalars())
    return []


def check_uploads(configured: Settings) -> Findings:
    """Check the storage of uploads, and its free space."""
    from pipeline.storage.uploads import open_upload_store

    location = uploads_location(configured)
    store = open_upload_store(location)
    store.owner()  # raises an error for a bucket that does not answer
    free = store.bytes_free({})
    if free is not None and free < configured.upload_reserve_bytes:
        text = f"{location} has {free} bytes left; delete files, or lower RASTERSOURCES_UPLOAD_RESERVE_BYTES"
        yield Finding("uploads", text, "problem")
    else:
        left = "" if free is None else f", {free / 2**30:.1f} GiB left"
        yield Finding("uploads", f"{location}{left}")


def check_roots(configured: Settings) -> Findings:
    """Check that the folders of RASTERSOURCES_ROOTS can be read."""
    for root in configured.roots:
        if "://" in root:
            kind = "bucket" if root.startswith("s3://") else "web server"
            yield Finding("roots", f"{root} (a {kind} is not checked)")
        elif not os.access(root, os.R_OK | os.X_OK) or not Path(root).is_dir():
            text = f"{root} of RASTERSOURCES_ROOTS is not a folder that this user can read"
            yield Finding("roots", f"{text}; mount it, or remove it from the setting", "problem")
        else:
            yield Finding("roots", f"{root} is readable")


def check_api(configured: Settings) -> Findings:
    """Report the running server, or whether its port is free."""
    if address := published_address(configured):
        yield Finding("api", f"a server runs at {address}")
        return
    port = configured.port or next_free_port(configured.host, API_PORT)
    bind(configured.host, port, "RASTERSOURCES_PORT").close()
    yield Finding("api", f"no server runs; port {port} of {configured.host} is free")


def check_prefect(configured: Settings) -> Findings:
    """Check the Prefect server of PREFECT_API_URL, or report the one of `up`."""
    from importlib.metadata import version
    from urllib.request import urlopen

    from flows.schedules.prefect_server import served_port

    prefect = version("prefect")
    if api := os.environ.get("PREFECT_API_URL"):
        try:
            urlopen(f"{api.rstrip('/')}/health", timeout=SECONDS_TO_ANSWER).close()  # noqa: S310
        except (OSError, ValueError) as error:
            raise CatalogueError(
                f"the server of PREFECT_API_URL, {api}, does not answer ({error}); start it, or correct the variable"
            ) from error
        yield Finding("prefect", f"Prefect {prefect}, the server at {api} answers")
        return
    port = served_port(home_folder(configured))
    state = f"its server listens on port {port}" if port else "`rastersources up` starts its server"
    yield Finding("prefect", f"Prefect {prefect}, {state}")
