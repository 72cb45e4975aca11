"""The commands for the database: the private cluster, its schema, and the role for readers."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.bootstrap import database_url, home_folder, migrate_database, open_catalogue
from pipeline.cli.ports import LOOPBACK, bind
from pipeline.cli.terminal import echo
from pipeline.errors import CatalogueError
from pipeline.settings import Settings, settings

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from pipeline.database.migrations import Revisions
    from pipeline.database.private_cluster.cluster import Cluster

database = typer.Typer(
    help="The database: the private cluster and its schema.", no_args_is_help=True
)

Force = Annotated[
    bool, typer.Option("--force", help="Do it even while other programs use the cluster.")
]


def private(configured: Settings) -> "Cluster":
    """Return the private cluster; raise CatalogueError if the settings name another database."""
    from pipeline.database.private_cluster.cluster import Cluster

    if configured.database_url:
        raise CatalogueError(
            "RASTERSOURCES_DATABASE_URL names a database that rastersources does not start or stop; "
            "unset it to use the private cluster"
        )
    return Cluster(home_folder(configured))


@database.command("start")
def start(
    tcp: Annotated[
        int | None,
        typer.Option(
            metavar="PORT",
            min=1,
            max=65535,
            help="Also listen on this port of 127.0.0.1, with a password, for QGIS and notebooks.",
        ),
    ] = None,
    force: Force = False,
) -> None:
    """Start the private cluster; it runs until `rastersources db stop`."""  # fmt: skip
    cluster = private(settings())
    if tcp not in (None, cluster.tcp_port):
        bind(LOOPBACK, tcp, "--tcp").close()
    cluster.start(tcp, force=force)
    print_addresses(cluster)


@database.command("stop")
def stop(force: Force = False) -> None:
    """Stop the private cluster."""
    cluster = private(settings())
    if cluster.stop(force=force):
        echo(f"the private cluster in {cluster.home} is stopped")
    else:
        echo(f"the private cluster in {cluster.home} was not running", err=True)


@database.command("status")
def status() -> None:
    """Print whether the private cluster runs, its address, and the programs that use it.

    The exit status is 0 if it runs, and 1 if it does not.
    """
    cluster = private(settings())
    if not cluster.answers():
        echo(f"the private cluster in {cluster.home} is not running")
        raise SystemExit(1)
    print_addresses(cluster)
    for program in cluster.clients():
        echo(f"used by {program}")


def print_addresses(cluster: "Cluster") -> None:
    """Print the addresses of a running private cluster."""
    echo(f"the private cluster in {cluster.home} runs: {cluster.url()}")
    if cluster.tcp_port is not None:
        echo(f"for programs without unix sockets: {cluster.tcp_url()}")
        echo(f"the password is the last word in {cluster.password_file}")


@database.command("url")
def url(
    tcp: Annotated[
        bool,
        typer.Option(
            "--tcp", help="Print the URL of the TCP port that `db start --tcp PORT` opened."
        ),
    ] = False,
) -> None:
    """Print the URL of the database, for psql and other programs.

    If the private cluster does not run, it is started and runs until `rastersources db stop`.
    """
    configured = settings()
    if configured.database_url:
        typer.echo(configured.database_url)
        return
    cluster = private(configured)
    if tcp:
        cluster.tcp_url()  # raises CatalogueError without a port
    if not cluster.answers():
        cluster.start()
        echo("started the private cluster; stop it with: rastersources db stop", err=True)
    migrate_database(cluster.url(), configured)
    typer.echo(cluster.tcp_url() if tcp else cluster.url())


@database.command("migrate")
def migrate(revision: Annotated[str, typer.Argument(metavar="[REVISION]")] = "head") -> None:
    """Bring the schema to the newest revision, or to REVISION."""
    from pipeline.database import migrations

    move(settings(), migrations.migrate, revision)


@database.command("downgrade")
def downgrade(
    revision: Annotated[str, typer.Argument(metavar="REVISION", help="Such as -1, 0001 or base.")],
) -> None:
    """Downgrade the schema to REVISION. Data that this revision cannot store are lost."""
    from pipeline.database import migrations

    move(settings(), migrations.downgrade, revision)


@database.command("reader")
def reader() -> None:
    """Create the role rastersources_reader for users who query by SQL; it can read only Public rows."""
    from pipeline.database.engine import begin
    from pipeline.database.privileges import READER_ROLE, create_reader_role

    with open_catalogue(settings()) as engine, begin(engine) as connection:
        create_reader_role(connection)
    echo(f"grant the role to each user: GRANT {READER_ROLE} TO name")


@database.command("reproject")
def reproject(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would change, and change nothing.")
    ] = False,
) -> None:
    """Place all registered files again, with the present PROJ and RASTERSOURCES_CRS_POLICY. No file is opened."""
    from pipeline.catalogue.reproject import reproject
    from pipeline.cli.output import print_moved, print_reprojection

    configured = settings()
    with open_catalogue(configured) as engine:
        summary = reproject(engine, configured.crs_policy, dry_run=dry_run, report=print_moved)
    print_reprojection(summary, dry_run=dry_run)


def move(configured: Settings, step: "Callable[[Engine, str], Revisions]", revision: str) -> None:
    """Change the schema to a revision and print the old and the new revision."""
    from pipeline.database.engine import open_engine

    with database_url(configured) as url, open_engine(url) as engine:
        before, after = step(engine, revision)
    earlier = "" if before == after else f"; it was at {before or 'base'}"
    echo(f"the schema is at {after or 'base'}{earlier}")
