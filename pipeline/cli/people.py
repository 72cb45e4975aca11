"""The commands for organisations, users, roles, API keys and layers."""

from typing import Annotated
from uuid import UUID

import typer

from pipeline.cli.bootstrap import open_catalogue
from pipeline.cli.completion import complete_organisation, complete_role, complete_user
from pipeline.cli.options import AsJson
from pipeline.cli.terminal import print_list
from pipeline.settings import settings

organisation = typer.Typer(help="The organisations that own raster sources.", no_args_is_help=True)
user = typer.Typer(
    help="The people and programs that sign in or supply data.", no_args_is_help=True
)
role = typer.Typer(help="The roles of users in organisations.", no_args_is_help=True)
key = typer.Typer(help="API keys.", no_args_is_help=True)
layer = typer.Typer(help="The layers that show raster sources.", no_args_is_help=True)
GROUPS = {"organisation": organisation, "user": user, "role": role, "key": key, "layer": layer}

NewUsername = Annotated[str, typer.Argument(metavar="USERNAME")]
Username = Annotated[str, typer.Argument(metavar="USERNAME", autocompletion=complete_user)]
Organisation = Annotated[
    str,
    typer.Argument(
        metavar="ORGANISATION", help="Name or uuid.", autocompletion=complete_organisation
    ),
]
Role = Annotated[
    str,
    typer.Argument(
        metavar="ROLE", help="user, supplier, admin or manager.", autocompletion=complete_role
    ),
]


@organisation.command("add")
def add_organisation(name: Annotated[str, typer.Argument(metavar="NAME")]) -> None:
    """Add an organisation and print its uuid."""
    from pipeline.catalogue import owners

    with open_catalogue(settings()) as engine:
        typer.echo(owners.add_organisation(engine, name))


@organisation.command("list")
def list_organisations(as_json: AsJson = False) -> None:
    """List the organisations with the number of their raster sources and of users who have a role there."""
    from pipeline.catalogue import owners

    with open_catalogue(settings()) as engine:
        print_list(owners.list_organisations(engine), as_json=as_json)


@user.command("add")
def add_user(
    username: NewUsername,
    first_name: Annotated[str, typer.Option(help="Given name.")] = "",
    last_name: Annotated[str, typer.Option(help="Family name.")] = "",
    email: Annotated[str, typer.Option(help="Email address.")] = "",
) -> None:
    """Add a user. They sign in with an API key, or with a password after you set one."""
    from pipeline.catalogue import users

    with open_catalogue(settings()) as engine:
        users.add_user(engine, username, first_name=first_name, last_name=last_name, email=email)


@user.command("password")
def set_password(username: Username) -> None:
    """Ask for a new password of a user, store it, and end their sessions."""
    from pipeline.catalogue import users

    password = typer.prompt("Password", hide_input=True, confirmation_prompt=True)
    with open_catalogue(settings()) as engine:
        users.set_password(engine, username, password)


@user.command("list")
def list_users(as_json: AsJson = False) -> None:
    """List the users with their roles and the number of their valid keys."""
    from pipeline.catalogue import users

    with open_catalogue(settings()) as engine:
        print_list(users.list_users(engine), as_json=as_json)


@user.command("deactivate")
def deactivate_user(username: Username) -> None:
    """Deactivate a user: their sessions and keys stop working at once, and their data stay."""
    from pipeline.catalogue import users

    with open_catalogue(settings()) as engine:
        users.set_active(engine, username, active=False)


@user.command("activate")
def activate_user(username: Username) -> None:
    """Activate a user again; their password, and the keys that were not revoked, work again."""
    from pipeline.catalogue import users

    with open_catalogue(settings()) as engine:
        users.set_active(engine, username, active=True)


@role.command("grant")
def grant_role(username: Username, organisation: Organisation, role: Role) -> None:
    """Give a user a role in an organisation."""
    from pipeline.catalogue import users

    with open_catalogue(settings()) as engine:
        users.grant_role(engine, username, organisation, role)


@role.command("revoke")
def revoke_role(username: Username, organisation: Organisation, role: Role) -> None:
    """Remove a role of a user in an organisation."""
    from pipeline.catalogue import users

    with open_catalogue(settings()) as engine:
        users.revoke_role(engine, username, organisation, role)


@key.command("create")
def create_key(username: Username) -> None:
    """Create an API key and print it. It cannot be shown again, because only its hash is stored."""
    from pipeline.catalogue import users

    with open_catalogue(settings()) as engine:
        typer.echo(users.create_key(engine, username))


@key.command("revoke")
def revoke_key(
    prefix: Annotated[
        str, typer.Argument(metavar="PREFIX", help="The part of the key before the dot.")
    ],
) -> None:
    """Revoke a key, and end the sessions of browsers that signed in with it."""
    from pipeline.catalogue import users

    with open_catalogue(settings()) as engine:
        users.revoke_key(engine, prefix)


@key.command("list")
def list_keys(
    username: Annotated[str | None, typer.Argument(metavar="[USERNAME]")] = None,
    as_json: AsJson = False,
) -> None:
    """List the keys of all users or of one user, by their prefixes. The secrets are not stored."""
    from pipeline.catalogue import users

    with open_catalogue(settings()) as engine:
        print_list(users.list_keys(engine, username), as_json=as_json)


@layer.command("add")
def add_layer(
    name: Annotated[str, typer.Argument(metavar="NAME")],
    source: Annotated[
        UUID, typer.Option(help="The raster source that the layer shows.", metavar="UUID")
    ],
) -> None:
    """Add a layer that shows one raster source, with its organisation and access, and print the uuid."""
    from pipeline.catalogue import layers

    with open_catalogue(settings()) as engine:
        typer.echo(layers.add_layer(engine, name, source))
