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


def is_same_python(started: dict[str, str], free: tuple[str, ...]) -> bool:
    """Whether the variables in which the environments differ are read when they are needed."""
    ours = dict(os.environ)
    if set(ours.get("PYTHONPATH", "").split(os.pathsep)) == {started["PYTHONPATH"]}:
        ours["PYTHONPATH"] = started["PYTHONPATH"]  # worker processes name it twice
    return all(
        name.startswith(free)
        for name in started.keys() | ours.keys()
        if started.get(name) != ours.get(name)
    )


def stand_for_fork(connection: socket.socket, passed: list[int]) -> int:
    """Send signals on until the fork ends; its exit status, negative for a signal."""

    def forward(number: int, _frame: object) -> None:
        connection.send(bytes([number]))

    for number in FORWARDED:
        signal.signal(number, forward)
    request = {"arguments": sys.argv[1:], "folder": os.getcwd(), "variables": dict(os.environ)}
    text = marshal.dumps({**request, "passed": passed})
    numbers = b"".join(number.to_bytes(4, sys.byteorder) for number in passed)
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, numbers)]
    connection.sendmsg([len(text).to_bytes(4, "big")], rights)
    connection.sendall(text)
    if not (status := connection.recv(2)):
        raise EOFError("the process that forks has ended; its log says why")
    return int.from_bytes(status, "big", signed=True)


def must_be_new(folder: str, free: tuple[str, ...]) -> bool:
    """Whether the options or the environment are such that Python has to start anew."""
    options = [word for word in sys.argv[1:2] if word != "-P"] or sys.argv[2:3]
    ignored = [number for number in FORWARDED if signal.getsignal(number) == signal.SIG_IGN]
    if options[:1] not in (["-m"], ["-c"]) or ignored:
        return True
    with open(f"{folder}/variables", "rb") as file:
        return not is_same_python(marshal.load(file), free)


def main(program: str, folder: str, free: tuple[str, ...]) -> None:
    passed = descriptors()
    connection = socket.socket(socket.AF_UNIX)
    try:
        if not (new := must_be_new(folder, free)):
            connection.connect(f"{folder}/socket")
    except OSError:  # another user's, or ended
        new = True
    if new:
        os.execv(program, [program, *sys.argv[1:]])
    status = stand_for_fork(connection, passed)
    if status < 0:
        if -status != signal.SIGKILL:
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    os._exit(status)
