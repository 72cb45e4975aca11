"""A Python that starts in a fork of a process that has imported the program and Prefect: a start without imports.

Its children are as warm, as far as they are started as `sys.executable`.
"""

import atexit
import gc
import importlib
import marshal
import multiprocessing
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fcntl import F_DUPFD, fcntl
from functools import cache
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from io import TextIOWrapper
from pathlib import Path
from selectors import EVENT_READ, DefaultSelector
from types import ModuleType
from typing import NoReturn

from tests.support import warm_client
from tests.support.made_once import made_once
from tests.support.warm_client import LOW

IMPORTED = [
    "pipeline.api.server", "pipeline.catalogue.rejected_files", "pipeline.catalogue.search",
    "pipeline.catalogue.unregister", "pipeline.catalogue.users", "pipeline.cli.inspection",
    "pipeline.cli.inspection_output", "pipeline.cli.main", "pipeline.cli.output", "pipeline.cli.progress",
    "pipeline.cli.runners", "pipeline.cli.server", "pipeline.database.migrations", "pipeline.ingest.drop_folders",
    "pipeline.ingest.plan", "pipeline.ingest.sync", "pipeline.ingest.uploads", "pipeline.raster.workers.process",
]  # fmt: skip
"""What commands and worker processes import."""
WITH_PREFECT = [
    "flows.register", "flows.schedules.deploy", "flows.schedules.schedule", "flows.uploads", "prefect.cli.server",
    "prefect.engine", "prefect.server.api.server", "prefect.workers.process",
]  # fmt: skip
"""What flows and Prefect's server import, which takes seconds: as soon as one is asked for."""
WITHOUT_PREFECT = ("flows.schedules", "flows.schedules.prefect_server")
"""These prepare the environment that Prefect reads."""
ROOT = Path(__file__).resolve().parents[2]


@cache
def warm_python() -> Path:
    """The program: Python for `-m` and `-c` in this virtual environment."""
    owner = os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid()
    return made_once(f"warm-python-{owner}", lambda folder: start(folder, owner)) / "bin" / "python"


def start(folder: Path, owner: int) -> None:
    """Write the program beside the others of the virtual environment, and start what forks."""
    folder.chmod(0o711)
    (folder / "lib").symlink_to(Path(sys.prefix) / "lib")
    (folder / "pyvenv.cfg").symlink_to(Path(sys.prefix) / "pyvenv.cfg")
    (folder / "bin").mkdir()
    for other in Path(sys.prefix, "bin").iterdir():
        (folder / "bin" / other.name).symlink_to(other)
    program = folder / "bin" / "python"
    program.unlink()
    source = Path(warm_client.__file__).read_text()
    program.write_text(
        f"#!{sys.executable} -IS\n{source}\n\nmain({sys.executable!r}, {str(folder)!r})\n"
    )
    program.chmod(0o755)
    variables = {**os.environ, **warm_client.OF_WORKERS, "PYTHONPATH": str(ROOT)}
    for name in warm_client.BY_LIBRARIES:
        variables.pop(name, None)
    (folder / "variables").write_bytes(marshal.dumps(variables))
    sockets = [listen(folder / name) for name in ("program", "prefect")]
    passed = [one.fileno() for one in sockets]
    command = [sys.executable, "-m", "tests.support.warm_python", folder, owner, *passed]
    with (folder / "log").open("w") as log:
        subprocess.run(
            list(map(str, command)), env=variables, pass_fds=passed, stdin=subprocess.DEVNULL,
            stdout=log, stderr=log, start_new_session=True, check=True,
        )  # fmt: skip
    for one in sockets:
        one.close()


def listen(path: Path) -> socket.socket:
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(path))
    listening.listen(100)
    return listening


@dataclass
class Request:
    """What a process is to be: its arguments, folder, environment and open files."""

    arguments: list[str]
    folder: str
    variables: dict[str, str]
    passed: dict[int, int]
    """The numbers that its files shall have, and those that they have."""


class Forks:
    """Makes a fork for each client, until the tests have ended."""

    def __init__(self, listening: socket.socket, owner: int, imported: list[str]) -> None:
        self.listening, self.events = listening, DefaultSelector()
        self.imported = imported
        self.clients: dict[int, tuple[int, socket.socket]] = {}
        """The number of the process and its client, by the descriptor of the process."""
        self.events.register(listening, EVENT_READ, self.accept)
        self.events.register(os.pidfd_open(owner), EVENT_READ, self.end)

    def serve(self) -> Request:
        """Serve until the end; returns in each fork."""
        while True:
            for key, _ in self.events.select():
                request: Request | None = key.data()
                if request is not None:
                    return request

    def accept(self) -> Request | None:
        client, _ = self.listening.accept()
        try:
            request = receive(client)
        except (OSError, EOFError):  # it was killed
            client.close()
            return None
        import_all(self.imported)
        if not (process := os.fork()):
            return request
        for descriptor in request.passed.values():
            os.close(descriptor)
        with suppress(OSError):
            client.send(process.to_bytes(4, "big"))
        descriptor = os.pidfd_open(process)
        self.clients[descriptor] = process, client
        self.events.register(client, EVENT_READ, lambda: self.forward(client, descriptor))
        self.events.register(descriptor, EVENT_READ, lambda: self.report(descriptor))
        return None

    def forward(self, client: socket.socket, descriptor: int) -> None:
        """Send a process the signals that its client got, SIGKILL among them."""
        if descriptor not in self.clients:  # it has just ended
            return
        numbers = b""
        with suppress(ConnectionError):
            numbers = client.recv(100)
        if not numbers:
            self.events.unregister(client)
        for number in numbers or [signal.SIGKILL]:
            signal.pidfd_send_signal(descriptor, number)

    def report(self, descriptor: int) -> None:
        """Tell a client how its process has ended."""
        process, client = self.clients.pop(descriptor)
        status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        self.events.unregister(descriptor)
        with suppress(KeyError):  # it was killed
            self.events.unregister(client)
        with suppress(OSError):
            client.send(status.to_bytes(4, "big", signed=True))
        client.close()
        os.close(descriptor)

    def end(self) -> None:
        """Leave nothing behind."""
        for descriptor in self.clients:
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        os._exit(0)


def receive(client: socket.socket) -> Request:
    """Read what the client sends, with the files that it passes, at numbers that no process asks for."""
    head, found, *_ = socket.recv_fds(client, 4, 200)
    length, text = int.from_bytes(head, "big"), b""
    while len(text) < length or not head:
        if not (part := client.recv(length - len(text))):
            raise EOFError
        text += part
    fields = marshal.loads(text)
    return Request(**{**fields, "passed": dict(zip(fields["passed"], found, strict=True))})


class PrefectFinder(Loader, MetaPathFinder):
    """Hides what was imported of Prefect until it is imported: it reads its environment then."""

    def __init__(self) -> None:
        self.hidden = {
            name: sys.modules.pop(name)
            for name in list(sys.modules)
            if name.startswith(("prefect", "flows.")) and name not in WITHOUT_PREFECT
        }

    def find_spec(self, name: str, _path: object, _target: object = None) -> ModuleSpec | None:
        if name not in self.hidden:
            return None
        module = self.hidden[name]
        packaged = hasattr(module, "__path__")
        return ModuleSpec(name, self, origin=module.__file__, is_package=packaged)

    def get_code(self, name: str) -> object:
        """For `python -m`."""
        loader = self.hidden[name].__spec__.loader  # type: ignore[union-attr]
        return loader.get_code(name)  # type: ignore[union-attr]

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        self.spec = self.hidden[spec.name].__spec__
        return self.hidden[spec.name]

    def exec_module(self, module: ModuleType) -> None:
        """Show all of it, and have Prefect read its environment again."""
        module.__spec__ = self.spec
        sys.meta_path.remove(self)
        sys.modules.update(self.hidden)
        sys.modules["prefect.context"].refresh_global_settings_context()
        sys.modules["prefect.logging.configuration"].setup_logging()


def become(request: Request, program: str) -> None:
    """Give this process the files, the environment and the settings of another."""
    os.setsid()
    place_descriptors(request.passed)
    os.chdir(request.folder)
    os.environ.clear()
    os.environ.update(request.variables)
    tempfile.tempdir = None
    for stream in (sys.stdout, sys.stderr):
        assert isinstance(stream, TextIOWrapper)
        stream.reconfigure(line_buffering=stream is sys.stderr or os.isatty(stream.fileno()))
    sys.executable = sys._base_executable = program  # type: ignore[attr-defined]
    multiprocessing.set_executable(program)
    sys.meta_path.insert(0, PrefectFinder())


def place_descriptors(passed: dict[int, int]) -> None:
    """Have these files at their numbers, and no others that a program passes on."""
    high = {number: fcntl(found, F_DUPFD, LOW) for number, found in passed.items()}
    os.closerange(0, LOW)
    for number, found in high.items():
        os.dup2(found, number)
        os.close(found)


def run(arguments: list[str]) -> None:
    """Run a program as Python does for its arguments `-m MODULE` or `-c CODE`."""
    sys.path[0] = str(Path.cwd())
    if arguments[0] == "-P":
        del arguments[0], sys.path[0]
    option, program, *_ = arguments
    sys.argv = arguments[1:] if option == "-m" else ["-c", *arguments[2:]]
    if option == "-m":
        runpy.run_module(program, run_name="__main__", alter_sys=True)
    else:
        module = sys.modules["__main__"] = ModuleType("__main__")
        exec(compile(program, "<string>", "exec"), module.__dict__)


def run_to_the_end(arguments: list[str]) -> NoReturn:
    """Run a program, and end as Python does, without freeing all that was imported."""
    status: object = None
    try:
        run(arguments)
    except SystemExit as ended:
        status = ended.code
    except BaseException as error:  # noqa: BLE001 - as Python does
        sys.excepthook(type(error), error, error.__traceback__)
        status = 1
        if isinstance(error, KeyboardInterrupt):
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            signal.raise_signal(signal.SIGINT)
    if not isinstance(status, int | None):
        print(status, file=sys.stderr)
        status = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(ValueError):  # it is closed
            stream.flush()
    os._exit((status or 0) & 0xFF)


@contextmanager
def low_numbers_taken() -> Iterator[None]:
    """Move the files that libraries keep open, such as the database of PROJ, to numbers that forks leave open."""
    taken = []
    while (number := os.dup(sys.stdin.fileno())) < LOW:
        taken.append(number)
    os.close(number)
    yield
    for number in taken:
        os.close(number)


def import_all(modules: list[str]) -> None:
    """Import what is not imported yet; the collector leaves the memory alone that forks share."""
    if modules[-1] in sys.modules:
        return
    with warnings.catch_warnings(), low_numbers_taken():
        warnings.simplefilter("ignore")
        for module in modules:
            importlib.import_module(module)
    gc.collect()
    gc.freeze()


def main(folder: str, owner: int, for_program: int, for_prefect: int) -> None:
    if os.fork():
        os._exit(0)  # the process that started this one does not wait for its end
    import_all(IMPORTED)
    # both stay: freed later, they would close files of the program
    sockets = [socket.socket(fileno=number) for number in (for_program, for_prefect)]
    listening, imported = (sockets[0], IMPORTED) if os.fork() else (sockets[1], WITH_PREFECT)
    forks = Forks(listening, owner, imported)
    request = forks.serve()
    become(request, f"{folder}/bin/python")
    run_to_the_end(request.arguments)


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
