"""Processes that need not load their libraries: PyTorch alone takes longer than most commands do.

A server that has loaded the libraries, and nothing of this package, forks a process for each command. That process
reads the package and runs the command's `main` as a new one would: with arguments, environment, folder, standard
streams and exit code of its own. `forked.py` is the program in its place: it hands these over, passes signals on, and
ends as the process does. What a test asks of Python's own start, of the imports of the package, or of processes that
are found by their command line, it asks of COMMAND.

One server for each worker of pytest, and one more for whoever asks for other hashes; they end with the worker.
"""

import atexit
import gc
import importlib
import json
import os
import select
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import NoReturn

import numpy

#: `cohortreg` in a process that is new in every respect.
COMMAND = [sys.executable, "-c", "from cohortreg.cli import main; main()"]
#: What programs import to run; python runs its first argument.
MAINS = {"cohortreg": "cohortreg.cli", "snakemake": "snakemake.cli", "torchrun": "torch.distributed.run"}
#: What most commands load, or what takes long.
LIBRARIES = (
    "torch", "torch._dynamo", "scipy.ndimage", "scipy.stats", "pandas", "SimpleITK", "nibabel", "lightning_fabric",
    "monai.metrics", "numba", "seaborn", "typer", "rich.progress", "yaml", "pydantic", "safetensors.torch", "jinja2",
    "snakemake.cli",
)  # fmt: skip


def forked(program: str = "cohortreg", hashes: str = "random") -> list[str]:
    """The words that start a program by the server whose strings have those hashes; its arguments follow."""
    return [sys.executable, "-IS", str(Path(__file__).with_name("forked.py")), str(_address(hashes)), program]


def command(*arguments: object, folder: Path | None = None) -> subprocess.CompletedProcess:
    """`cohortreg` with these arguments, once it has ended."""
    return subprocess.run([*forked(), *map(str, arguments)], cwd=folder, capture_output=True, text=True)


def printed(code: str, *arguments: object, paths: Sequence[object], status: int = 0) -> str:
    """What Python printed that ran code, or its errors where the status is not 0, with modules of some folders."""
    done = subprocess.run(
        [*forked("python"), code, *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(map(str, paths))},
        capture_output=True,
        text=True,
    )
    assert done.returncode == status, done.stderr
    return done.stderr if status else done.stdout


def refused(*arguments: object) -> str:
    """The one line in which `cohortreg` refuses these arguments."""
    done = command(*arguments)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


@cache
def environment(hashes: str = "random") -> dict[str, str]:
    """Of a bash in which the programs are started by that server."""
    path = _address(hashes).with_name("bash.sh")
    lines = [f'{program}() {{ {shlex.join(forked(program, hashes))} "$@"; }}\n' for program in MAINS]
    path.write_text("".join(lines), encoding="utf-8")
    return {"BASH_ENV": str(path)}


@cache
def _address(hashes: str) -> Path:
    """The socket of the server with that PYTHONHASHSEED; the first call starts it."""
    folder = Path(tempfile.mkdtemp(prefix="forks-"))
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(folder / "socket"))
        listening.listen(64)
        number = listening.fileno()
        server = subprocess.Popen(
            [sys.executable, __file__, str(number)],
            stdin=subprocess.PIPE,
            pass_fds=[number],
            cwd="/",
            env=os.environ | {"PYTHONHASHSEED": hashes},
        )

    def stop() -> None:
        server.stdin.close()
        server.wait()
        shutil.rmtree(folder)

    atexit.register(stop)
    return folder / "socket"


def serve(listening: socket.socket) -> str:
    """Fork a process for each request, until standard input ends; returns, in that process alone, its program."""
    for name in LIBRARIES:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        ready, _, _ = select.select([listening, 0], [], [])
        if 0 in ready:
            os._exit(0)
        connection, _ = listening.accept()
        if os.fork() == 0:
            listening.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            request, streams = _received(connection)
            process = os.fork()
            if process == 0:
                connection.close()
                return _become(request, streams)
            for stream in streams:
                os.close(stream)
            _watch(connection, process)
            os._exit(0)
        connection.close()


def _received(connection: socket.socket) -> tuple[dict, list[int]]:
    """A request: program, arguments, folder and environment; and its three standard streams."""
    content, streams, _, _ = socket.recv_fds(connection, 1 << 16, 3)
    length, _, content = content.partition(b"\n")
    while len(content) < int(length):
        content += connection.recv(1 << 16)
    return json.loads(content), streams


def _become(request: dict, streams: list[int]) -> str:
    """Take over what the request's process would have; returns the program."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    # As of a new process: these know nothing yet of what they lead to.
    sys.stdin, sys.stdout = os.fdopen(0, closefd=False), os.fdopen(1, "w", closefd=False)
    sys.stderr = os.fdopen(2, "w", 1, errors="backslashreplace", closefd=False)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv = [request["program"], *request["arguments"]]
    sys.orig_argv = [sys.executable, *sys.argv]
    sys.path[:1] = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    with suppress(ModuleNotFoundError):
        import sitecustomize  # noqa: F401  (as Python does when it starts)
    sys.path.insert(0, "")
    numpy.random.seed()
    return request["program"]


def _watch(connection: socket.socket, process: int) -> None:
    """Pass signals on to the process, end it when nobody waits for it any more, and tell how it ended."""
    ended = os.pidfd_open(process)
    while True:
        ready, _, _ = select.select([connection, ended], [], [])
        if ended in ready:
            break
        for number in connection.recv(64) or [signal.SIGKILL]:
            os.kill(process, number)
    _, status = os.waitpid(process, 0)
    with suppress(OSError):
        connection.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())


def run(program: str) -> NoReturn:
    """Run a program and end as Python does, but that nothing is taken apart: most of it is the server's still."""
    code = 1
    try:
        if program == "python":
            code = exec(compile(sys.argv.pop(1), "<string>", "exec"), {"__name__": "__main__"})
        else:
            code = importlib.import_module(MAINS[program]).main()
    except SystemExit as ended:
        code = ended.code
    except BaseException:
        sys.excepthook(*sys.exc_info())
    if isinstance(code, str):
        print(code, file=sys.stderr)
    threading._shutdown()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))


if __name__ == "__main__":
    run(serve(socket.socket(fileno=int(sys.argv[1]))))
