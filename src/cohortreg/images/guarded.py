"""Calls that may crash, hang or exhaust a library, run in another process under time and memory limits.

`call` starts that process when it is first needed, keeps it for the next call, and starts another where it died. A file
that kills it is a `BadImage`, and everything else goes on.

    value, arrays = call("cohortreg.images.itk:read", path, about=path)

The function is named, not passed: its module is imported there. It takes what JSON can say (paths as text) and returns
a value that JSON can say and a list of arrays.
"""

import atexit
import errno
import importlib
import json
import mmap
import os
import resource
import select
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from cohortreg import errors
from cohortreg.errors import BadImage
from cohortreg.inputs import files_of

#: Seconds of processor time for any file, and more for each MB; waiting for a disk or for other processes is none.
SECONDS, SECONDS_PER_MB = 60, 1
#: How many times as long the whole may take, the waiting included, before the file system counts as dead.
PATIENCE = 30
#: Bytes that may be used above what a call says that it needs.
MEMORY = 2**31
#: Each thread would count as memory, and reading has no use for them.
ONE_THREAD = dict.fromkeys(
    ("ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"
)
STATM = Path("/proc/self/statm")  # Linux alone has it
CRASHES = (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE, signal.SIGILL, signal.SIGSYS)


@dataclass
class _Reader:
    process: subprocess.Popen[bytes]
    requests: IO[bytes]
    answers: IO[bytes]
    owner: int  # a fork of its owner has a process of its own, or two would read one pipe


_reader: _Reader | None = None
_turn = threading.Lock()


def call(function: str, *arguments: object, about: Path, memory: int = 0) -> tuple[Any, list[np.ndarray]]:
    """Call `function`, "package.module:name", in the other process.

    Args:
        about: The file that it reads, for messages and for its share of time.
        memory: Bytes that it needs beyond 2 GB.

    Raises:
        UserError, OSError, BadImage: The function raises it.
        BadImage: It crashes, runs longer or needs more memory than any sane file.
        MemoryError: The function raises it, or the system killed the process.
        TimeoutError: The file system does not answer.
    """
    size = sum(file.stat().st_size for file in files_of(about) if file.is_file())
    seconds = SECONDS + int(size * SECONDS_PER_MB / 1e6)
    request = {"function": function, "arguments": arguments, "seconds": seconds, "memory": memory + MEMORY}
    with _turn:
        reader = _started()
        try:
            reader.requests.write(json.dumps(request, default=str).encode() + b"\n")
            reader.requests.flush()
            answering = select.poll()
            answering.register(reader.answers, select.POLLIN)
            if not answering.poll(1000 * PATIENCE * seconds):
                raise TimeoutError(errno.ETIMEDOUT, "the file system does not answer", str(about))
            answer = json.loads(reader.answers.readline() or b"null")
            arrays = [_received(reader.answers, *array) for array in (answer or {}).get("arrays", ())]
        except (BrokenPipeError, EOFError):
            answer = None
        except BaseException:  # half an answer may still be in the pipe
            _stop()
            raise
        if answer is None:
            raise _death(about, _stop())
    if "error" in answer:
        raise _error(answer, about)
    return answer["value"], arrays


def _started() -> _Reader:
    global _reader
    if _reader and (_reader.owner != os.getpid() or _reader.process.poll() is not None):
        _reader = None
    if _reader is None:
        # Whatever made this package importable here does so there; -P: not what lies in the user's folder.
        given = os.environ.get("PYTHONPATH", "").split(os.pathsep)
        paths = [str(Path(__file__).parents[2]), *filter(None, given)]
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | ONE_THREAD | {"PYTHONPATH": os.pathsep.join(paths)},
        )
        assert process.stdin and process.stdout  # they are pipes
        _reader = _Reader(process, process.stdin, process.stdout, os.getpid())
    return _reader


@atexit.register
def _stop() -> int:
    """End the other process and return its exit code, as subprocess has it."""
    global _reader
    reader, _reader = _reader, None
    if reader is None or reader.owner != os.getpid():
        return 0
    with suppress(OSError):
        reader.requests.close()  # then it ends by itself, if it can
    try:
        return reader.process.wait(1)
    except subprocess.TimeoutExpired:
        reader.process.kill()
        return reader.process.wait()
    finally:
        reader.answers.close()


def _received(stream: IO[bytes], dtype: str, shape: list[int]) -> np.ndarray:
    array = np.empty(shape, dtype)
    view = memoryview(array.reshape(-1).view(np.uint8).data)
    while view:
        count = stream.readinto(view)  # type: ignore[attr-defined]  # of every stream of bytes, but not of IO
        if not count:
            raise EOFError
        view = view[count:]
    return array


def _death(about: Path, code: int) -> Exception:
    """The exception for a process that died, from its exit code."""
    if -code in CRASHES:
        return BadImage(f"{about} crashes the library that reads it; it is damaged: export it again.")
    if -code == signal.SIGXCPU:
        return BadImage(f"{about} makes the library that reads it hang; it is damaged: export it again.")
    if -code == signal.SIGKILL:  # as the system does when it has no memory left
        return MemoryError()
    return ChildProcessError(errno.ECHILD, "the process that reads it was ended", str(about))


def _error(answer: dict[str, Any], about: Path) -> Exception:
    kind, message = answer["error"], answer["message"]
    if kind == "OSError":
        return OSError(*message)
    if kind == "MemoryError":
        return MemoryError()
    if kind == "limit":
        return BadImage(
            f"{about} needs far more memory than an image of its size; it is damaged: export it again."
        )
    if kind in ("UserError", "BadImage"):
        return getattr(errors, kind)(message)
    return RuntimeError(f"{about}: {message}")


def _serve(requests: IO[bytes], answers: IO[bytes]) -> None:
    """Answer requests until the calling process is gone."""
    for line in requests:
        request = json.loads(line)
        arrays = []
        try:
            module, name = request["function"].split(":")
            # Before the limits: of PyTorch for CUDA, the libraries alone take more.
            function = getattr(importlib.import_module(module), name)
            _limit(request["seconds"], request["memory"])
            value, arrays = function(*request["arguments"])
            arrays = [np.ascontiguousarray(array) for array in arrays]
            answer = {"value": value, "arrays": [[array.dtype.str, array.shape] for array in arrays]}
        except errors.UserError as error:
            kind = "BadImage" if isinstance(error, BadImage) else "UserError"
            answer = {"error": kind, "message": str(error)}
        except OSError as error:
            message = [error.errno, error.strerror or str(error), error.filename]
            answer = {"error": "OSError", "message": message}
        except MemoryError:
            answer = {"error": "limit" if _is_there() else "MemoryError", "message": ""}
        except Exception as error:
            answer = {"error": "other", "message": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer).encode() + b"\n")
        for array in arrays if "value" in answer else ():
            answers.write(memoryview(array.reshape(-1).view(np.uint8)))
        answers.flush()


def _limit(seconds: int, memory: int) -> None:
    """Set limits above what this process has used so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _set(resource.RLIMIT_CPU, int(used.ru_utime + used.ru_stime) + seconds + 1)
    if STATM.exists():
        _set(resource.RLIMIT_AS, _taken() + memory)


def allow(memory: int) -> None:
    """Allow more memory, and the time to fill it, for a file that turns out to hold that many bytes.

    Called by that function, in its process; in any other, where nothing is limited, it does nothing.
    """
    seconds = int(memory * SECONDS_PER_MB / 1e6)
    for kind, more in ((resource.RLIMIT_AS, memory), (resource.RLIMIT_CPU, seconds)):
        limit = resource.getrlimit(kind)[0]
        if limit != resource.RLIM_INFINITY:
            _set(kind, limit + more)


def _set(kind: int, limit: int) -> None:
    """Set a soft limit, which may be raised again up to the hard one."""
    most = resource.getrlimit(kind)[1]
    resource.setrlimit(kind, (limit if most == resource.RLIM_INFINITY else min(limit, most), most))


def _taken() -> int:
    """Bytes of this process's address space."""
    return int(STATM.read_text().split()[0]) * mmap.PAGESIZE


def _is_there() -> bool:
    """Whether the machine has the memory that is allowed, so that an allocation failed because of our limit."""
    limit, most = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    try:
        mmap.mmap(-1, max(limit - _taken(), mmap.PAGESIZE)).close()
    except (OSError, ValueError, MemoryError):
        return False
    return True


def _main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the asking process decides
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    _serve(sys.stdin.buffer, answers)


if __name__ == "__main__":
    _main()
