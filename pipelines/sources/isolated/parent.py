"""Runs a parser of hostile files in a child process, which may crash, hang or run out of memory.

The libraries that parse PDFs and videos are written in C. A hostile file can crash them, keep them
busy for ever, or let them fill the memory, and none of it can be caught in the process itself. So
each file is parsed by a child with limits. Each result is one message. If the child dies or stalls,
the result that it was at is an error, and another child goes on after it.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO

from pipelines.sources.filesystem import error_text, open_inside, size_of
from pipelines.sources.isolated.allowance import Allowance, UsedUpError
from pipelines.sources.isolated.child import END, FATAL
from pipelines.sources.isolated.pipe import BadMessageError, Message, Pipe
from store.errors import RecordError

MAX_DEATHS = 5  # of the children of one file; then the rest of it is given up
_CPU_SLACK = 10  # seconds: what the kernel allows a child beyond the limit of the file
_LAST_WORDS = 5  # seconds in which a child that closed its pipe ends
# A child gets no other variables: they may hold credentials.
_VARIABLES = ("PATH", "HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH")


@dataclass(frozen=True)
class Program:
    """A parser, and what it may use for one file.

    Attributes:
        module: its name; it calls `child.serve`.
        rule: the first part of the rules of its errors, such as "pdf".
        largest: file that is read, in bytes.
        result_seconds: of processor time for one result (see `allowance`).
        seconds: of processor time for all results of a file.
        memory: address space of a child, in bytes.
    """

    module: str
    rule: str
    largest: int
    result_seconds: float
    seconds: float
    memory: int = 2 << 30


class _DeathError(RecordError):
    """A child ended before its last message."""


def parse(
    program: Program, root: str, path: str, request: dict[str, Any]
) -> Generator[Message | RecordError, None, None]:
    """Parse a file of a drop. Gives one item for each message of the program, in their order.

    The items end early if the file cannot be opened, its time is up, or five children died. The
    last item is then the error.

    Args:
        program: the parser.
        root: of the drop.
        path: of the file, relative to `root`.
        request: what the program is asked for.
    """
    allowance = Allowance(program.result_seconds, program.seconds)
    first = deaths = 0
    try:
        with _local_file(program, root, path) as file:
            while deaths < MAX_DEATHS and not allowance.is_used_up:
                is_dead = False
                with closing(_items(program, file, request | {"first": first}, allowance)) as items:
                    for item in items:
                        yield item
                        first += 1
                        is_dead = isinstance(item, _DeathError)
                if not is_dead:
                    return
                deaths += 1
    except RecordError as error:
        yield error


@contextmanager
def _local_file(program: Program, root: str, path: str) -> Iterator[BinaryIO]:
    """The file, open; a copy if it is remote, since children get its descriptor."""
    with open_inside(root, path) as file:
        try:
            size = size_of(file)
        except OSError as error:
            raise RecordError("file.unreadable", error_text(error)) from error
        if size == 0:
            raise RecordError(f"{program.rule}.empty", "the file has no bytes")
        if size > program.largest:
            message = f"{size} bytes, at most {program.largest} are read"
            rule = f"{program.rule}.bytes"
            raise RecordError(rule, message, value=size, threshold=program.largest)
        if "://" not in root:
            yield file
            return
        with tempfile.TemporaryFile() as copy:
            try:
                shutil.copyfileobj(file, copy)
                copy.flush()
            except OSError as error:
                raise RecordError("file.unreadable", error_text(error)) from error
            yield copy


def _items(
    program: Program, file: BinaryIO, request: dict[str, Any], allowance: Allowance
) -> Generator[Message | RecordError, None, None]:
    """The messages of one child. The last item is a `_DeathError` if it did not reach its end."""
    child = _start(program, file, request)
    assert child.stdout is not None
    try:
        with closing(Pipe(child.stdout.fileno())) as pipe:
            while True:
                try:
                    message = allowance.message(pipe, child.pid)
                except UsedUpError as error:
                    limit = error.seconds
                    rule = f"{program.rule}.seconds"
                    yield _DeathError(rule, str(error), value=limit, threshold=limit)
                    return
                except (EOFError, BadMessageError) as error:
                    yield _death(program, child, error)
                    return
                if END in message.fields:
                    return
                if "error" not in message.fields:
                    yield message
                    continue
                yield _error(message)
                if FATAL in message.fields:
                    return
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


def _start(program: Program, file: BinaryIO, request: dict[str, Any]) -> subprocess.Popen[bytes]:
    number = file.fileno()
    limits = {"memory": program.memory, "cpu_seconds": int(program.seconds) + _CPU_SLACK}
    own = limits | {"file": f"/proc/self/fd/{number}", "parent": os.getpid()}
    environment = {name: os.environ[name] for name in _VARIABLES if name in os.environ}
    environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    with tempfile.TemporaryFile() as stdin:
        stdin.write(json.dumps(request | own).encode())
        stdin.seek(0)
        return subprocess.Popen(
            [sys.executable, "-P", "-m", program.module],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            pass_fds=[number],
            env=environment,
        )


def _error(message: Message) -> RecordError:
    """The error that a message reports."""
    rule, text, value, limit = message.fields["error"]
    kind = _DeathError if FATAL in message.fields else RecordError
    return kind(str(rule), str(text), value=value, threshold=limit)


def _death(program: Program, child: subprocess.Popen[bytes], error: Exception) -> RecordError:
    """Why a child ended, or what it sent in place of a message."""
    if isinstance(error, BadMessageError):
        return _DeathError(f"{program.rule}.crashed", str(error)[:300])
    try:
        status = child.wait(_LAST_WORDS)
    except subprocess.TimeoutExpired:
        return _DeathError(f"{program.rule}.crashed", "its parser closed its output")
    reason = f"status {status}"
    if status < 0:
        reason = signal.Signals(-status).name if -status in set(signal.Signals) else f"{-status}"
    memory = f"{program.memory >> 20} MB of memory"
    message = f"its parser died ({reason}); it may use {memory}"
    return _DeathError(f"{program.rule}.crashed", message)
