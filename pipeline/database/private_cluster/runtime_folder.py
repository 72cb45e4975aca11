"""The folder with the socket of a private cluster: always the same for a home, and only its owner can enter it."""

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
"""Maximum length of the path of a unix socket on Linux (sun_path without its closing NUL)."""
SPECIAL_CHARACTERS = set("\"'\\\n")
"""Characters that would terminate or change a path in the configuration."""


def runtime_folder(home: Path) -> Path:
    """Return the folder for a home; its name depends only on the user and the path of the home.

    Raises CatalogueError when no folder is usable.
    """
    resolved = os.fsencode(home.resolve())
    name = f"rastersources-{os.geteuid()}-{hashlib.sha256(resolved).hexdigest()[:12]}"
    for parent in ("/tmp", tempfile.gettempdir()):  # noqa: S108 - make_runtime_folder checks whose it is
        folder = Path(parent, name)
        if (
            len(os.fsencode(folder / SOCKET)) <= SOCKET_PATH_BYTES
            and os.access(parent, os.W_OK)
            and not SPECIAL_CHARACTERS & set(parent)
            and can_enter(Path(parent))
        ):
            return folder
    raise CatalogueError(
        "no folder is usable for the socket of the private cluster; set TMPDIR to a short path"
    )


def can_enter(folder: Path) -> bool:
    """Return whether the user of the cluster can enter a folder; a user can always enter their own."""
    if os.geteuid() != 0:
        return True
    real = folder.resolve()
    return all(parent.stat().st_mode & 0o001 for parent in [real, *real.parents])


def make_runtime_folder(folder: Path) -> None:
    """Create the folder with mode 0700; replace a folder that a killed server left.

    Raises CatalogueError when another user has created it.
    """
    remove_runtime_folder(folder)
    try:
        folder.mkdir(mode=0o700)
    except OSError as error:
        raise CatalogueError(
            f"{folder}, the folder for the socket of the private cluster, cannot be created ({obstacle(folder, error)})"
        ) from error
    give_to_owner(folder)


def remove_runtime_folder(folder: Path) -> None:
    """Remove the folder, unless it belongs to another user."""
    if is_ours(folder):
        shutil.rmtree(folder, ignore_errors=True)


def is_ours(folder: Path) -> bool:
    """Return whether this is a folder, not a link, of this user or of the user of the cluster."""
    try:
        status = folder.lstat()
    except OSError:
        return False
    owners = {os.geteuid()} | ({cluster_owner().pw_uid} if os.geteuid() == 0 else set())
    return stat.S_ISDIR(status.st_mode) and status.st_uid in owners


def obstacle(folder: Path, error: OSError) -> str:
    """Return the reason why the folder cannot be created, with advice."""
    with suppress(OSError):
        return (
            f"user {folder.lstat().st_uid} has created a file or folder with this name, perhaps as a trap; "
            "remove it, or ask an administrator to remove it"
        )
    return error.strerror or str(error)
