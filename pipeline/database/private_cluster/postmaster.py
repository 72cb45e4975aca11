"""Which processes are those of a PostgreSQL cluster, and whether its socket is open, as Linux says.

PostgreSQL's processes have their data folder as working folder. Its own lock file says less: the number in it may
be another program's by now, as after a crash of the machine.
"""

import os
import signal
import socket
from contextlib import suppress
from pathlib import Path


def postmaster_pid(data: Path) -> int | None:
    """The process that postmaster.pid names; None without one."""
    try:
        return int((data / "postmaster.pid").read_text().partition("\n")[0])
    except (FileNotFoundError, ValueError):
        return None


def belongs_to_cluster(process: int, data: Path) -> bool:
    """Whether a process is a PostgreSQL of this cluster; raises PermissionError where that is not to be seen."""
    folder = Path(f"/proc/{process}")
    try:
        same = folder.stat().st_uid == data.stat().st_uid and (folder / "cwd").samefile(data)
        return same and (folder / "comm").read_text() == "postgres\n"
    except (FileNotFoundError, ProcessLookupError):
        return False


def cluster_processes(data: Path) -> list[int]:
    """All processes of this cluster, such as those that outlive a postmaster that was killed.

    Raises PermissionError where those of its user are not to be seen.
    """
    numbers = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]
    return [number for number in numbers if belongs_to_cluster(number, data)]


def kill_orphans(data: Path) -> None:
    """End the processes of a cluster whose postmaster is gone: one in a long query would keep it from starting.

    SIGQUIT is how a postmaster itself has them end at once.
    """
    for process in cluster_processes(data):
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGQUIT)


def lock_holders(file: Path) -> list[int]:
    """The processes that hold a lock (flock) on a file, as far as this one may know."""
    inode = file.stat().st_ino
    lines = (line.split() for line in Path("/proc/locks").read_text().splitlines())
    # such as `1: FLOCK  ADVISORY  READ 1234 fe:01:5678 0 EOF`; `->` marks those who wait
    held = {int(line[4]) for line in lines if line[1] == "FLOCK" and line[5].endswith(f":{inode}")}
    return sorted(held - {0})


def command_line(process: int) -> str:
    """The command line of a process; empty when it is gone."""
    try:
        return (
            Path(f"/proc/{process}/cmdline")
            .read_bytes()
            .replace(b"\0", b" ")
            .decode(errors="replace")
            .strip()
        )
    except OSError:
        return ""


def is_listening(path: Path) -> bool:
    """Whether anybody listens at a unix socket."""
    with socket.socket(socket.AF_UNIX) as client, suppress(OSError):
        client.connect(str(path))
        return True
    return False
