"""The child's side of an isolated parser: limits of the process, and messages to the parent.

A message is four bytes with the length of a JSON object, the object, then the blobs whose lengths
its `blobs` lists. JSON, and not pickle: a file that takes the child over must not run code in the
parent.
"""

import ctypes
import json
import os
import resource
import signal
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, BinaryIO

Message = tuple[dict[str, Any], list[bytes]]
HEADER = struct.Struct(">I")
END = "end"  # key of the last message
FATAL = "fatal"  # key of an error after which the child ends, and must be started again
_OPEN_FILES = 64
_PR_SET_PDEATHSIG = 1  # of linux/prctl.h


def serve(program: Callable[[dict[str, Any]], Iterator[Message]], rule: str) -> None:
    """Run a program on the request in standard input, and write its messages.

    Args:
        program: gives the messages from number `first` of the request on. The request's `file` is
            the path of the file to parse.
        rule: the first part of the rules of errors, such as "pdf".
    """
    request = json.load(sys.stdin)
    _end_with_parent(request["parent"])
    _limit(resource.RLIMIT_AS, request["memory"])
    _limit(resource.RLIMIT_CPU, request["cpu_seconds"])
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_FSIZE, 0)
    _limit(resource.RLIMIT_NOFILE, _OPEN_FILES)
    # What libraries print must not get between the messages.
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    try:
        for message in program(request):
            _write(out, message)
        _write(out, ({END: True}, []))
    except MemoryError:
        text = f"more than {request['memory'] >> 20} MB of memory would be needed"
        _write(out, fatal(f"{rule}.memory", text))
    except OSError as error:
        _write(out, fatal(f"{rule}.unreadable", f"{error.strerror or error}"))
    except Exception as error:  # the parent writes it to the ledger, and goes on after it
        _write(out, fatal(f"{rule}.unexpected", f"{type(error).__name__}: {error}"[:300]))


def failed(
    rule: str, error: str, value: float | None = None, limit: float | None = None
) -> Message:
    """A message in place of a result: the arguments of a RecordError."""
    return {"error": [rule, error, value, limit]}, []


def fatal(rule: str, error: str, value: float | None = None, limit: float | None = None) -> Message:
    """As `failed`, for an error that ends the child."""
    message, blobs = failed(rule, error, value, limit)
    return message | {FATAL: True}, blobs


def _end_with_parent(parent: int) -> None:
    """Let the kernel kill this process when its parent ends, however that ends (Linux)."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before
        os._exit(1)


def _limit(which: int, most: int) -> None:
    _, hard = resource.getrlimit(which)
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(which, (most, most))


def _write(out: BinaryIO, message: Message) -> None:
    fields, blobs = message
    body = json.dumps(fields | {"blobs": [len(blob) for blob in blobs]}).encode()
    out.write(HEADER.pack(len(body)) + body)
    for blob in blobs:
        out.write(blob)
    out.flush()
