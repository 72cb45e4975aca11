"""Finds the programs of PostgreSQL and the user who runs them."""

import os
import pwd
from pathlib import Path
from typing import Any

from pipeline.errors import CatalogueError

INSTALL = (
    "install PostgreSQL with PostGIS (Debian and Ubuntu: apt install postgresql postgresql-postgis), "
    "or set RASTERSOURCES_DATABASE_URL"
)


def find_programs(version: str | None = None) -> Path:
    """Return the folder with initdb and pg_ctl of a PostgreSQL with PostGIS: the newest one, or that of a version."""
    folders = sorted(
        Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: float(folder.parent.name)
    )
    usable = [
        folder
        for folder in folders
        if (folder / "pg_ctl").exists()
        and Path("/usr/share/postgresql", folder.parent.name, "extension/postgis.control").exists()
        and version in (None, folder.parent.name)
    ]
    if usable:
        return usable[-1]
    if version:
        raise CatalogueError(
            f"the private cluster needs PostgreSQL {version} with PostGIS, which is not installed: {INSTALL}"
        )
    raise CatalogueError(f"PostgreSQL with PostGIS is not installed: {INSTALL}")


def run_as() -> dict[str, Any]:
    """Return arguments for subprocess; for root they select the user postgres, as PostgreSQL does not run as root."""
    if os.geteuid() != 0:
        return {}
    owner = cluster_owner()
    return {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}


def give_to_owner(path: Path) -> None:
    """Make the user postgres the owner of a path, if this process is root."""
    if os.geteuid() == 0:
        owner = cluster_owner()
        os.chown(path, owner.pw_uid, owner.pw_gid)


def cluster_owner() -> pwd.struct_passwd:
    """Return the user who runs the cluster when root starts it."""
    try:
        return pwd.getpwnam("postgres")
    except KeyError as error:
        raise CatalogueError(
            f"root needs the user postgres to run the private cluster, but this user does not exist: {INSTALL}"
        ) from error
