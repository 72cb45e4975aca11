"""The folder of a private cluster's socket: the same for a home each time, and for its owner alone."""

import hashlib
import os
import shutil
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

from pipeline.database.private_cluster.programs import cluster_owner, give_to_owner
from pipeline.errors import CatalogueError

SOCKET = ".s.PGSQL.5432"
SOCKET_PATH_BYTES = 107
"""Longest path of a unix socket on Linux (sun_path less its closing NUL)."""
UNQUOTED = set("\"'\\\n")
"""What the configuration would take for more than a character of a path."""


def runtime_folder(home: Path) -> Path:
    """The folder for a home; its name depends on nothing but the user and the path of the home.

    Raises CatalogueError where there is no place for it.
    """
    resolved = os.fsencode(home.resolve())
    name = f"rastersources-{os.geteuid()}-{hashlib.sha256(resolved).hexdigest()[:12]}"
    for place in ("/tmp", tempfile.gettempdir()):  # noqa: S108 - make_runtime_folder checks whose it is
        folder = Path(place, name)
        if (
            len(os.fsencode(folder / SOCKET)) <= SOCKET_PATH_BYTES
            and os.access(place, os.W_OK)
            and not UNQUOTED & set(place)
            and can_enter(Path(place))
        ):
            return folder
    raise CatalogueError(
        "there is no folder for the socket of the private cluster; set TMPDIR to a short path"
    )


def can_enter(place: Path) -> bool:
    """Whether the user of the cluster can enter; its own user always can."""
    if os.geteuid() != 0:
        return True
    return all(
        folder.stat().st_mode & 0o001 for folder in [place.resolve(), *place.resolve().parents]
    )


def make_runtime_folder(folder: Path) -> None:
    """Make it anew, with mode 0700, also where a killed server left it.

    Raises CatalogueError where somebody else has made it.
    """
    remove_runtime_folder(folder)
    try:
        folder.mkdir(mode=0o700)
    except OSError as error:
        raise CatalogueError(
            f"{folder}, the folder for the socket of the private cluster, cannot be made ({why_not(folder, error)})"
        ) from error
    give_to_owner(folder)


def remove_runtime_folder(folder: Path) -> None:
    """Remove it if it is ours; what belongs to somebody else stays."""
    if is_ours(folder):
        shutil.rmtree(folder, ignore_errors=True)


def is_ours(folder: Path) -> bool:
    """Whether it is a folder, not a link, that belongs to our user or to that of the cluster."""
    try:
        found = folder.lstat()
    except OSError:
        return False
    ours = {os.geteuid()} | ({cluster_owner().pw_uid} if os.geteuid() == 0 else set())
    return stat.S_ISDIR(found.st_mode) and found.st_uid in ours


def why_not(folder: Path, error: OSError) -> str:
    """What is in the way, and what to do about it."""
    with suppress(OSError):
        return (
            f"something of the user number {folder.lstat().st_uid} has its name, and may be a trap: "
            "remove it, or let an administrator remove it"
        )
    return error.strerror or str(error)
