"""The program `python` of a warm process: it asks that process for a fork, and represents the fork.

It has the environment and the command line of the fork, forwards signals to it, and ends with its exit status. When it
is killed, the fork is killed too. Options and variables that Python reads at its start, such as PYTHONWARNINGS, need a
new Python.
"""

# The modules `signal` and `socket` import others, which takes longer than everything else here.
import _signal as signal  # type: ignore[import-not-found]
import _socket as socket
import marshal
import os
import sys

FORWARDED = [signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2]
DESCRIPTOR_LIMIT = 256
"""The descriptors that a process passes on to a fork are below this number."""
WORKER_VARIABLES = {
    "GDAL_CONFIG_FILE": os.devnull, "GDAL_DRIVER_PATH": "disable", "PROJ_NETWORK": "OFF", "OPENBLAS_NUM_THREADS": "1",
}  # fmt: skip
"""Variables of processes that read files. GDAL and numpy read them when they are imported."""
LIBRARY_VARIABLES = ("GDAL_CURL_CA_BUNDLE", "PROJ_CURL_CA_BUNDLE")
"""Variables that rasterio and pyproj set when they are imported."""
MAY_DIFFER = (
    "RASTERSOURCES_", "PREFECT_", "AWS_", "DO_NOT_TRACK", "NO_PROXY", "no_proxy", "PATH", "TMPDIR", "PYTEST_", "TERM",
)  # fmt: skip
"""Beginnings of variables whose values may differ between a fork and the warm process."""
MAY_DIFFER_FOR_COMMANDS = (*MAY_DIFFER, *WORKER_VARIABLES, *LIBRARY_VARIABLES)


def descriptors() -> list[int]:
    """Return the descriptors that the parent has passed."""
    return [number for number in map(int, os.listdir("/proc/self/fd")) if is_open(number)]


def is_open(number: int) -> bool:
    """Whether a descriptor is open. That of the listing itself is already closed."""
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def can_be_fork(folder: str, variables: dict[str, str], free: tuple[str, ...]) -> bool:
    """Whether the environments differ only in variables that a running process reads when it needs them."""
    with open(f"{folder}/variables", "rb") as file:
        started = marshal.load(file)
    ours = dict(variables)
    if set(ours.get("PYTHONPATH", "").split(os.pathsep)) == {started["PYTHONPATH"]}:
        ours["PYTHONPATH"] = started["PYTHONPATH"]  # worker processes have it twice
    return all(
        name.startswith(free)
        for name in started.keys() | ours.keys()
        if started.get(name) != ours.get(name)
    )


def connect(folder: str, arguments: list[str]) -> socket.socket:
    """Connect to the process that forks for these arguments of Python."""
    needs_prefect = any("flow" in word or "prefect" in word for word in arguments)
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(f"{folder}/{'prefect' if needs_prefect else 'program'}")
    return connection


def ask_for_fork(
    connection: socket.socket, arguments: list[str], folder: str, variables: dict[str, str], passed: dict[int, int]
) -> int:  # fmt: skip
    """Ask for a fork; return its process id. `passed` maps descriptors of the fork to our descriptors."""
    request = {"arguments": arguments, "folder": folder, "variables": variables}
    text = marshal.dumps({**request, "passed": list(passed)})
    numbers = b"".join(number.to_bytes(4, sys.byteorder) for number in passed.values())
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, numbers)]
    connection.sendmsg([len(text).to_bytes(4, "big")], rights)
    connection.sendall(text)
    return receive_number(connection)


def receive_number(connection: socket.socket) -> int:
    """Receive the id of a started process, or the exit status of an ended one; a signal is negative."""
    if not (number := connection.recv(4)):
        raise EOFError("the process that forks has ended; its log says why")
    return int.from_bytes(number, "big", signed=True)


def represent_fork(connection: socket.socket, passed: list[int]) -> int:
    """Forward signals until the fork ends; return its exit status."""

    def forward(number: int, _frame: object) -> None:
        connection.send(bytes([number]))

    for number in FORWARDED:
        signal.signal(number, forward)
    unchanged = {number: number for number in passed}
    ask_for_fork(connection, sys.argv[1:], os.getcwd(), dict(os.environ), unchanged)
    return receive_number(connection)


NEVER_FORKED = ("pipeline.raster.pixels.process",)
"""Programs whose open files their parent reads in /proc."""


def must_be_new(folder: str, passed: list[int]) -> bool:
    """Whether a new Python is needed because of the program, options, environment, signals or descriptors."""
    is_worker = sys.argv[1:2] == ["-P"]
    ignored = [number for number in FORWARDED if signal.getsignal(number) == signal.SIG_IGN]
    if (
        sys.argv[1 + is_worker : 2 + is_worker] not in (["-m"], ["-c"])
        or ignored
        or max(passed, default=0) >= DESCRIPTOR_LIMIT
    ):
        return True
    if any(word in NEVER_FORKED for word in sys.argv[1:]):
        return True
    return not can_be_fork(
        folder, dict(os.environ), MAY_DIFFER if is_worker else MAY_DIFFER_FOR_COMMANDS
    )


def main(program: str, folder: str) -> None:
    passed = descriptors()
    try:
        connection = None if must_be_new(folder, passed) else connect(folder, sys.argv[1:])
    except OSError:  # the warm process is another user's, or has ended
        connection = None
    if not connection:
        os.execv(program, [program, *sys.argv[1:]])
    status = represent_fork(connection, passed)
    if status < 0:
        if -status != signal.SIGKILL:
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    os._exit(status)
