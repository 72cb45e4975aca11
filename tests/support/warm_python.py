"""A Python that starts as a fork of a process that has already imported the program or Prefect.

Its children start in the same way if they are started with `sys.executable`.
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
from tests.support.make_once import make_once
from tests.support.warm_client import DESCRIPTOR_LIMIT

PROGRAM_MODULES = [
    "pipeline.api.server", "pipeline.catalogue.rejected_files", "pipeline.catalogue.search",
    "pipeline.catalogue.unregister", "pipeline.catalogue.users", "pipeline.cli.inspection",
    "pipeline.cli.inspection_output", "pipeline.cli.main", "pipeline.cli.output", "pipeline.cli.progress",
    "pipeline.cli.runners", "pipeline.cli.server", "pipeline.database.migrations", "pipeline.ingest.drop_folders",
    "pipeline.ingest.plan", "pipeline.ingest.sync", "pipeline.ingest.uploads", "pipeline.raster.workers.process",
]  # fmt: skip
"""The modules that commands and worker processes import."""
PREFECT_MODULES = [
    "flows.register", "flows.schedules.deploy", "flows.schedules.schedule_keeper", "flows.uploads",
    "prefect.cli.server", "prefect.engine", "prefect.server.api.server", "prefect.workers.process",
]  # fmt: skip
"""The modules that flows and Prefect's server import. They take seconds, so the first request imports them."""
NEVER_HIDDEN = ("flows.schedules", "flows.schedules.prefect_server")
"""Modules that prepare the environment that Prefect reads."""
ROOT = Path(__file__).resolve().parents[2]


@cache
def warm_python() -> Path:
    """Return the path of a warm Python, which knows `-m` and `-c` and the packages of this virtual environment."""
    owner = os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid()
    return make_once(f"warm-python-{owner}", lambda folder: start(folder, owner)) / "bin" / "python"


def start(folder: Path, owner: int) -> None:
    """Write the program `python` beside links to the other programs, and start the processes that fork."""
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
    variables = {**os.environ, **warm_client.WORKER_VARIABLES, "PYTHONPATH": str(ROOT)}
    for name in warm_client.LIBRARY_VARIABLES:
        variables.pop(name, None)
    (folder / "variables").write_bytes(marshal.dumps(variables))
    sockets = [listen(folder / name) for name in ("program", "prefect")]
    passed = [listening.fileno() for listening in sockets]
    command = [sys.executable, "-m", "tests.support.warm_python", folder, owner, *passed]
    with (folder / "log").open("w") as log:
        subprocess.run(
            list(map(str, command)), env=variables, pass_fds=passed, stdin=subprocess.DEVNULL,
            stdout=log, stderr=log, start_new_session=True, check=True,
        )  # fmt: skip
    for listening in sockets:
        listening.close()


def listen(path: Path) -> socket.socket:
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(path))
    listening.listen(100)
    return listening


@dataclass
class Request:
    """The arguments, folder, environment and open files that a process shall have."""

    arguments: list[str]
    folder: str
    variables: dict[str, str]
    passed: dict[int, int]
    """Descriptors that the files shall have -> descriptors that they have now."""


class ForkServer:
    """Makes a fork for each client until the tests end."""

    def __init__(self, listening: socket.socket, owner: int, modules: list[str]) -> None:
        self.listening, self.events = listening, DefaultSelector()
        self.modules = modules
        self.clients: dict[int, tuple[int, socket.socket]] = {}
        """The process id and the client of each fork, by the descriptor of the process."""
        self.events.register(listening, EVENT_READ, self.accept)
        self.events.register(os.pidfd_open(owner), EVENT_READ, self.end)

    def serve(self) -> Request:
        """Serve until the tests end; return the request in each fork."""
        while True:
            for key, _ in self.events.select():
                request: Request | None = key.data()
                if request is not None:
                    return request

    def accept(self) -> Request | None:
        client, _ = self.listening.accept()
        try:
            request = receive(client)
        except (OSError, EOFError):  # the client was killed
            client.close()
            return None
        import_all(self.modules)
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
        """Forward signals of a client to its process; send SIGKILL when the client is gone."""
        if descriptor not in self.clients:  # the process has just ended
            return
        numbers = b""
        with suppress(ConnectionError):
            numbers = client.recv(100)
        if not numbers:
            self.events.unregister(client)
        for number in numbers or [signal.SIGKILL]:
            signal.pidfd_send_signal(descriptor, number)

    def report(self, descriptor: int) -> None:
        """Send a client the exit status of its process."""
        process, client = self.clients.pop(descriptor)
        status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        self.events.unregister(descriptor)
        with suppress(KeyError):  # the client was killed
            self.events.unregister(client)
        with suppress(OSError):
            client.send(status.to_bytes(4, "big", signed=True))
        client.close()
        os.close(descriptor)

    def end(self) -> None:
        """Kill all forks, and exit."""
        for descriptor in self.clients:
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        os._exit(0)


def receive(client: socket.socket) -> Request:
    """Receive the request of a client, with the open files that it passes."""
    head, descriptors, *_ = socket.recv_fds(client, 4, 200)
    length, text = int.from_bytes(head, "big"), b""
    while len(text) < length or not head:
        if not (part := client.recv(length - len(text))):
            raise EOFError
        text += part
    fields = marshal.loads(text)
    return Request(**{**fields, "passed": dict(zip(fields["passed"], descriptors, strict=True))})


class PrefectFinder(Loader, MetaPathFinder):
    """Hides the imported modules of Prefect until they are imported again: Prefect then reads its environment."""

    def __init__(self) -> None:
        self.hidden = {
            name: sys.modules.pop(name)
            for name in list(sys.modules)
            if name.startswith(("prefect", "flows.")) and name not in NEVER_HIDDEN
        }

    def find_spec(self, name: str, _path: object, _target: object = None) -> ModuleSpec | None:
        if name not in self.hidden:
            return None
        module = self.hidden[name]
        is_package = hasattr(module, "__path__")
        return ModuleSpec(name, self, origin=module.__file__, is_package=is_package)

    def get_code(self, name: str) -> object:
        """Return the code of a module, which `python -m` asks for."""
        loader = self.hidden[name].__spec__.loader  # type: ignore[union-attr]
        return loader.get_code(name)  # type: ignore[union-attr]

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        self.spec = self.hidden[spec.name].__spec__
        return self.hidden[spec.name]

    def exec_module(self, module: ModuleType) -> None:
        """Show all hidden modules, and let Prefect read its environment again."""
        module.__spec__ = self.spec
        sys.meta_path.remove(self)
        sys.modules.update(self.hidden)
        sys.modules["prefect.context"].refresh_global_settings_context()
        sys.modules["prefect.logging.configuration"].setup_logging()


def become(request: Request, program: str) -> None:
    """Give this process the files, the environment and the settings of the request."""
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
    """Move these files to their descriptors, and close all others below DESCRIPTOR_LIMIT."""
    copies = {new: fcntl(old, F_DUPFD, DESCRIPTOR_LIMIT) for new, old in passed.items()}
    os.closerange(0, DESCRIPTOR_LIMIT)
    for new, copy in copies.items():
        os.dup2(copy, new)
        os.close(copy)


def run(arguments: list[str]) -> None:
    """Run a program as Python does with the arguments `-m MODULE` or `-c CODE`."""
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
    """Run a program, and end as Python does, but without freeing the imported modules."""
    status: object = None
    try:
        run(arguments)
    except SystemExit as exit_:
        status = exit_.code
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
        with suppress(ValueError):  # the stream is closed
            stream.flush()
    os._exit((status or 0) & 0xFF)


@contextmanager
def low_descriptors_taken() -> Iterator[None]:
    """Let libraries open files that they keep, such as the database of PROJ, above DESCRIPTOR_LIMIT."""
    taken = []
    while (descriptor := os.dup(sys.stdin.fileno())) < DESCRIPTOR_LIMIT:
        taken.append(descriptor)
    os.close(descriptor)
    yield
    for descriptor in taken:
        os.close(descriptor)


def import_all(modules: list[str]) -> None:
    """Import modules once, and keep the garbage collector from touching the memory that forks share."""
    if modules[-1] in sys.modules:
        return
    with warnings.catch_warnings(), low_descriptors_taken():
        warnings.simplefilter("ignore")
        for module in modules:
            importlib.import_module(module)
    gc.collect()
    gc.freeze()


def main(folder: str, owner: int, for_program: int, for_prefect: int) -> None:
    if os.fork():
        os._exit(0)  # the parent does not wait for the process that forks
    import_all(PROGRAM_MODULES)
    # These objects stay: freed later, they would close files of the program that have the same numbers.
    sockets = [socket.socket(fileno=descriptor) for descriptor in (for_program, for_prefect)]
    listening, modules = (
        (sockets[0], PROGRAM_MODULES) if os.fork() else (sockets[1], PREFECT_MODULES)
    )
    server = ForkServer(listening, owner, modules)
    request = server.serve()
    become(request, f"{folder}/bin/python")
    run_to_the_end(request.arguments)


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
