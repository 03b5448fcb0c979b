"""A parser that fails in every way, as its request says (see `pipelines.sources.isolated`)."""

import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

from pipelines.sources.isolated.child import Message, failed, serve


def run(request: dict[str, Any]) -> Iterator[Message]:
    """A message for each act of the request."""
    for number, act in enumerate(request["acts"][request["first"] :], start=request["first"]):
        if act == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        elif act == "exit":
            os._exit(3)
        elif act == "hang":
            time.sleep(60)
        elif act == "spin":
            while True:
                pass
        elif act == "memory":
            bytearray(1 << 40)
        elif act == "raise":
            raise ValueError("out of order")
        elif act == "refuse":
            yield failed("fragile.refused", "not today", 2, 1)
            continue
        elif act == "lie":
            os.write(request_pipe(), b"\xff\xff\xff\xffrubbish")
        elif act == "write":
            with tempfile.TemporaryFile() as file:
                file.write(bytes(1 << 20))
        print("noise in the standard output", file=sys.stdout, flush=True)
        yield {"number": number, "environment": dict(os.environ)}, [bytes([number]), b"x" * number]


def request_pipe() -> int:
    """The descriptor that messages are written to: the only pipe that is open."""
    return max(int(name) for name in os.listdir("/proc/self/fd") if "pipe" in _target(name))


def _target(name: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{name}")
    except OSError:
        return ""


if __name__ == "__main__":
    serve(run, "fragile")
