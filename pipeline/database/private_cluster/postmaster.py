"""Finds the processes and the socket of a PostgreSQL cluster through /proc of Linux.

A process belongs to the cluster if its working folder is the data folder. The lock file of PostgreSQL is less reliable:
after a crash of the machine, another program may have the process id in that file.
"""

import os
import signal
import socket
from contextlib import suppress
from pathlib import Path


def postmaster_pid(data: Path) -> int | None:
    """Return the process id in postmaster.pid; None if there is no id."""
    try:
        return int((data / "postmaster.pid").read_text().partition("\n")[0])
    except (FileNotFoundError, ValueError):
        return None


def belongs_to_cluster(process: int, data: Path) -> bool:
    """Return whether a process belongs to this cluster; raise PermissionError if this process cannot see it."""
    folder = Path(f"/proc/{process}")
    try:
        same = folder.stat().st_uid == data.stat().st_uid and (folder / "cwd").samefile(data)
        return same and (folder / "comm").read_text() == "postgres\n"
    except (FileNotFoundError, ProcessLookupError):
        return False


def cluster_processes(data: Path) -> list[int]:
    """Return all processes of this cluster, including those that outlive a killed postmaster.

    Raises PermissionError if this process cannot see the processes of the cluster's user.
    """
    processes = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]
    return [process for process in processes if belongs_to_cluster(process, data)]


def kill_orphans(data: Path) -> None:
    """Kill the processes of a cluster without a postmaster, because a process in a long query prevents a new start.

    It sends SIGQUIT, as a postmaster does to end its processes at once.
    """
    for process in cluster_processes(data):
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGQUIT)


def lock_holders(file: Path) -> list[int]:
    """Return the processes that hold a lock (flock) on a file, if this process can see them."""
    inode = file.stat().st_ino
    lines = (line.split() for line in Path("/proc/locks").read_text().splitlines())
    # A line is `1: FLOCK  ADVISORY  READ 1234 fe:01:5678 0 EOF`; `->` marks waiting processes.
    held = {int(line[4]) for line in lines if line[1] == "FLOCK" and line[5].endswith(f":{inode}")}
    return sorted(held - {0})


def command_line(process: int) -> str:
    """Return the command line of a process; an empty text when it is gone."""
    try:
        words = Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return ""
    return b" ".join(words).decode(errors="replace").strip()


def is_listening(path: Path) -> bool:
    """Return whether a server listens at a unix socket."""
    with socket.socket(socket.AF_UNIX) as client, suppress(OSError):
        client.connect(str(path))
        return True
    return False
