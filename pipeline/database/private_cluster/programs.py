"""PostgreSQL's own programs, and the user as whom they run."""

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
    """The folder of initdb and pg_ctl of a PostgreSQL that has PostGIS: the newest, or that of one version."""
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
            f"the private cluster is of PostgreSQL {version}, which is not there with PostGIS: {INSTALL}"
        )
    raise CatalogueError(f"PostgreSQL with PostGIS is not there: {INSTALL}")


def run_as() -> dict[str, Any]:
    """Arguments for subprocess: root hands over to the user postgres, for PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    owner = cluster_owner()
    return {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}


def give_to_owner(path: Path) -> None:
    """As root, hand a path to the user postgres."""
    if os.geteuid() == 0:
        owner = cluster_owner()
        os.chown(path, owner.pw_uid, owner.pw_gid)


def cluster_owner() -> pwd.struct_passwd:
    """The user who runs the cluster when root starts it."""
    try:
        return pwd.getpwnam("postgres")
    except KeyError as error:
        raise CatalogueError(
            f"there is no user postgres to run the private cluster as: {INSTALL}"
        ) from error
