"""Which processes are those of a PostgreSQL cluster, and whether its socket is open, as Linux says.

PostgreSQL's processes have their data folder as working folder. Its own lock file says less: the number in it may
be another program's by now, as after a crash of the machine.
"""

import socket
from contextlib import suppress
from pathlib import Path


def locked_by(data: Path) -> int | None:
    """The process that postmaster.pid names; None without one."""
    try:
        return int((data / "postmaster.pid").read_text().partition("\n")[0])
    except (FileNotFoundError, ValueError):
        return None


def works_in(process: int, data: Path) -> bool:
    """Whether a process is there and is one of this cluster; raises PermissionError where that is not to be seen."""
    folder = Path(f"/proc/{process}")
    try:
        return folder.stat().st_uid == data.stat().st_uid and (folder / "cwd").samefile(data)
    except (FileNotFoundError, ProcessLookupError):
        return False


def processes_in(data: Path) -> list[int]:
    """All processes of this cluster, such as those that outlive a postmaster that was killed.

    Raises PermissionError where those of its user are not to be seen.
    """
    numbers = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]
    return [number for number in numbers if works_in(number, data)]


def is_open(path: Path) -> bool:
    """Whether anybody listens at a unix socket."""
    with socket.socket(socket.AF_UNIX) as client, suppress(OSError):
        client.connect(str(path))
        return True
    return False
