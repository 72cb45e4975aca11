"""The commands that start servers: `serve` starts the API, `up` starts everything on this machine."""

import socket
from dataclasses import replace
from typing import Annotated

import typer

from pipeline.cli import bootstrap, options
from pipeline.cli.ports import PREFECT_PORT, bind, next_free_port
from pipeline.cli.terminal import echo, echo_error
from pipeline.settings import API_PORT, Settings, settings

Host = Annotated[
    str | None,
    typer.Option(help="Address to listen on; default: RASTERSOURCES_HOST, or 127.0.0.1."),
]
Port = Annotated[
    int | None,
    typer.Option(
        help="Port to listen on; default: RASTERSOURCES_PORT, or the first free port from 8000.",
        min=1,
        max=65535,
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        help="Processes of the API; default: RASTERSOURCES_API_WORKERS, or one for each core.",
        min=1,
        max=64,
    ),
]


def serve(host: Host = None, port: Port = None, workers: Workers = None) -> None:
    """Serve the API until Ctrl-C."""
    from pipeline.cli.server import run_server

    configured = server_settings(workers)
    with (
        bind_api(configured, host, port) as listening,
        bootstrap.database_url(configured) as url,
    ):
        bootstrap.migrate_database(url, configured)
        run_server(
            url,
            configured,
            listening,
            lambda address: echo(f"serving {address}/api/v4/rastersources/"),
        )


def up(
    config: options.ConfigFile = options.DEFAULT_CONFIG,
    create: options.Create = False,
    host: Host = None,
    port: Port = None,
    workers: Workers = None,
) -> None:
    """Start everything on this machine: the database, the API, and Prefect with its pages.

    It syncs all definitions of --config at once, then each definition by its schedule.
    """
    from pipeline.cli.output import print_addresses
    from pipeline.cli.server import SchedulesProcess, run_server
    from pipeline.definitions.sources_toml import load_config

    configured = server_settings(workers)
    load_config(config)
    bootstrap.uploads_location(configured)
    bootstrap.require_no_server(configured)
    prefect_port, pages = bootstrap.prefect_address(configured)
    configured = replace(
        configured,
        sources_toml=configured.sources_toml or config.absolute(),
        prefect_pages=configured.prefect_pages or pages,
    )
    with bind_api(configured, host, port) as listening:
        if prefect_port not in (configured.prefect_port, PREFECT_PORT):
            echo_other_port("Prefect", PREFECT_PORT, prefect_port, "RASTERSOURCES_PREFECT_PORT")
        echo_start_of_database(configured)
        with bootstrap.database_url(configured) as url:
            bootstrap.migrate_database(url, configured)
            with SchedulesProcess(config, configured, create=create) as schedules:

                def ready(address: str) -> None:
                    print_addresses(
                        address, pages, config, bootstrap.prefect_password_file(configured)
                    )
                    schedules.start(address, prefect_port)

                run_server(url, configured, listening, ready)


def server_settings(workers: int | None) -> Settings:
    """Return the settings; `workers` replaces the number of processes of the API."""
    configured = settings()
    return replace(configured, api_workers=workers or configured.api_workers)


def bind_api(configured: Settings, host: str | None, port: int | None) -> socket.socket:
    """Return the listening socket of the API: on the requested port, or on the first free port from 8000."""
    address, requested = host or configured.host, port or configured.port
    chosen = requested or next_free_port(address, API_PORT)
    listening = bind(address, chosen, "RASTERSOURCES_PORT")
    if chosen not in (requested, API_PORT):
        echo_other_port("the API", API_PORT, chosen, "RASTERSOURCES_PORT")
    return listening


def echo_other_port(server: str, usual: int, chosen: int, setting: str) -> None:
    """Print that a port is taken, and which port is used instead."""
    echo_error(
        f"port {usual} is taken; {server} uses {chosen} instead (set {setting} to choose another)"
    )


def echo_start_of_database(configured: Settings) -> None:
    """Print that the private cluster is being created or started, because this takes some seconds."""
    from pipeline.cli.output import shell_path
    from pipeline.database.private_cluster.cluster import Cluster

    if configured.database_url:
        return
    cluster = Cluster(bootstrap.home_folder(configured))
    if not cluster.has_socket():
        verb = "Starting" if cluster.data.exists() else "Making"
        echo(f"{verb} the database in {shell_path(cluster.data)} ...")
