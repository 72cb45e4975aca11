"""The commands of the command line that look after the storage of uploads."""

import typer

from pipeline.cli.bootstrap import open_catalogue, uploads_location
from pipeline.cli.terminal import echo
from pipeline.settings import settings

uploads = typer.Typer(help="The storage of uploaded files.", no_args_is_help=True)


@uploads.command("unknown")
def list_unknown() -> None:
    """List the files in the storage of uploads that this catalogue did not record, and so never deletes.

    There are some after an older dump was restored: those that were received after it was made.
    """
    from pipeline.catalogue.upload_files import unknown
    from pipeline.storage.uploads import open_upload_store

    with open_catalogue(settings()) as engine:
        for uri in unknown(engine, open_upload_store(uploads_location(settings()))):
            typer.echo(uri)


@uploads.command("take-over")
def take_over() -> None:
    """Make a storage of uploads that another catalogue has used the storage of this one; the other must be gone.

    No file is deleted: those of the other catalogue stay, and `rastersources uploads unknown` lists them.
    """
    from pipeline.catalogue.upload_files import claim_storage
    from pipeline.storage.uploads import open_upload_store

    deposit = open_upload_store(uploads_location(settings()))
    with open_catalogue(settings()) as engine:
        claim_storage(engine, deposit, by_force=True)
    echo(f"the storage of uploads {deposit.name} belongs to this catalogue now")
