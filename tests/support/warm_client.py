"""The program `python` of a warm process: has that fork a process, and stands for it as long as it lives.

Its environment, command line, status and signals are those of the fork. It ends where the fork ends, and the fork is
killed where it is killed. What Python would read when it starts, such as options or PYTHONWARNINGS, needs a new Python.
"""

# Their modules in Python import others, which takes longer than all else here.
import _signal as signal  # type: ignore[import-not-found]
import _socket as socket
import marshal
import os
import sys

FORWARDED = [signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2]
LOW = 256
"""The files that a process passes on to a fork have lower numbers."""
OF_WORKERS = {
    "GDAL_CONFIG_FILE": os.devnull, "GDAL_DRIVER_PATH": "disable", "PROJ_NETWORK": "OFF", "OPENBLAS_NUM_THREADS": "1",
}  # fmt: skip
"""What processes that read files have in their environment, and GDAL and numpy read when they are imported."""
BY_LIBRARIES = ("GDAL_CURL_CA_BUNDLE", "PROJ_CURL_CA_BUNDLE")
"""What rasterio and pyproj set when they are imported."""
FREE = (
    "RASTERSOURCES_", "PREFECT_", "AWS_", "DO_NOT_TRACK", "NO_PROXY", "no_proxy", "PATH", "TMPDIR", "PYTEST_", "TERM",
)  # fmt: skip
"""The variables of which a warm process can have others than the one that it is a fork of."""
FREE_FOR_COMMANDS = (*FREE, *OF_WORKERS, *BY_LIBRARIES)


def descriptors() -> list[int]:
    """What the parent has passed."""
    return [number for number in map(int, os.listdir("/proc/self/fd")) if is_open(number)]


def is_open(number: int) -> bool:
    """Whether a descriptor is open; that of the listing itself is not any more."""
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def can_be_fork(folder: str, variables: dict[str, str], free: tuple[str, ...]) -> bool:
    """Whether the variables in which the environments differ are read when they are needed."""
    with open(f"{folder}/variables", "rb") as file:
        started = marshal.load(file)
    ours = dict(variables)
    if set(ours.get("PYTHONPATH", "").split(os.pathsep)) == {started["PYTHONPATH"]}:
        ours["PYTHONPATH"] = started["PYTHONPATH"]  # worker processes name it twice
    return all(
        name.startswith(free)
        for name in started.keys() | ours.keys()
        if started.get(name) != ours.get(name)
    )


def connect(folder: str, arguments: list[str]) -> socket.socket:
    """A connection to the process that forks for these arguments of Python."""
    needs_prefect = any("flow" in word or "prefect" in word for word in arguments)
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(f"{folder}/{'prefect' if needs_prefect else 'program'}")
    return connection


def ask_for_fork(
    connection: socket.socket, arguments: list[str], folder: str, variables: dict[str, str], passed: dict[int, int]
) -> int:  # fmt: skip
    """Have a process forked; its number. `passed` are the numbers that its files shall have, and those of ours."""
    request = {"arguments": arguments, "folder": folder, "variables": variables}
    text = marshal.dumps({**request, "passed": list(passed)})
    numbers = b"".join(number.to_bytes(4, sys.byteorder) for number in passed.values())
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, numbers)]
    connection.sendmsg([len(text).to_bytes(4, "big")], rights)
    connection.sendall(text)
    return receive_number(connection)


def receive_number(connection: socket.socket) -> int:
    """The number of a process that begins, or the exit status of one that has ended, negative for a signal."""
    if not (number := connection.recv(4)):
        raise EOFError("the process that forks has ended; its log says why")
    return int.from_bytes(number, "big", signed=True)


def stand_for_fork(connection: socket.socket, passed: list[int]) -> int:
    """Send signals on until the fork ends; its exit status."""

    def forward(number: int, _frame: object) -> None:
        connection.send(bytes([number]))

    for number in FORWARDED:
        signal.signal(number, forward)
    same = {number: number for number in passed}
    ask_for_fork(connection, sys.argv[1:], os.getcwd(), dict(os.environ), same)
    return receive_number(connection)


FOUND_BY_NUMBER = ("pipeline.raster.pixels.process",)
"""Programs whose open files are read at /proc by whoever started them."""


def must_be_new(folder: str, passed: list[int]) -> bool:
    """Whether the program, the options, the environment or the files are such that Python has to start anew."""
    of_worker = sys.argv[1:2] == ["-P"]
    ignored = [number for number in FORWARDED if signal.getsignal(number) == signal.SIG_IGN]
    if (
        sys.argv[1 + of_worker : 2 + of_worker] not in (["-m"], ["-c"])
        or ignored
        or max(passed, default=0) >= LOW
    ):
        return True
    if any(word in FOUND_BY_NUMBER for word in sys.argv[1:]):
        return True
    return not can_be_fork(folder, dict(os.environ), FREE if of_worker else FREE_FOR_COMMANDS)


def main(program: str, folder: str) -> None:
    passed = descriptors()
    try:
        connection = None if must_be_new(folder, passed) else connect(folder, sys.argv[1:])
    except OSError:  # another user's, or ended
        connection = None
    if not connection:
        os.execv(program, [program, *sys.argv[1:]])
    status = stand_for_fork(connection, passed)
    if status < 0:
        if -status != signal.SIGKILL:
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    os._exit(status)
