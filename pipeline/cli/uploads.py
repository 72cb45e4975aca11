"""The commands for the storage of uploads."""

import typer

from pipeline.cli.bootstrap import open_catalogue, uploads_location
from pipeline.cli.terminal import echo
from pipeline.settings import settings

uploads = typer.Typer(help="The storage of uploaded files.", no_args_is_help=True)


@uploads.command("unknown")
def list_unknown() -> None:
    """List the files in the storage that this catalogue did not record. It never deletes them.

    After restoring an older dump, files that were sent after the dump are unknown.
    """
    from pipeline.catalogue.upload_files import list_unrecorded
    from pipeline.storage.uploads import open_upload_store

    with open_catalogue(settings()) as engine:
        for uri in list_unrecorded(engine, open_upload_store(uploads_location(settings()))):
            typer.echo(uri)


@uploads.command("take-over")
def take_over() -> None:
    """Make the storage of another catalogue, which must no longer exist, the storage of this one.

    It deletes no file. `rastersources uploads unknown` lists the files of the other catalogue.
    """
    from pipeline.catalogue.upload_files import claim_storage
    from pipeline.storage.uploads import open_upload_store

    store = open_upload_store(uploads_location(settings()))
    with open_catalogue(settings()) as engine:
        claim_storage(engine, store, by_force=True)
    echo(f"the storage of uploads {store.name} belongs to this catalogue now")
