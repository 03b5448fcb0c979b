"""Encode few parts in one other process, without Ray, whose processes take seconds to start.

The process is not this one, because an encoder can crash its process. If that happens, a pool
encodes the units that are left: it finds the parts that crash an encoder.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

from embedders.pool.import_path import python_path
from embedders.pool.worker import (
    Encoded,
    EncoderActor,
    ReadUnit,
    UnitResult,
    concatenate,
    failures_only,
    prepare,
)

if TYPE_CHECKING:
    from embedders.pool.pool import Pool  # imports Ray

_COMMAND = "from embedders.pool.one_process import serve; serve({})"


class OneProcess:
    """A process that encodes units one after the other, for the length of a `with` block.

    Args:
        spec: the encoder's spec (see `embedders.registry`).
        pool: makes the pool that takes over if the process dies.
        num_cpus: the number of threads of the process.
        batch_size: the largest cost of a forward pass; see `embedders.pool.pool.Pool`.
    """

    def __init__(
        self,
        spec: str,
        pool: "Callable[[], Pool]",
        *,
        num_cpus: float = 1,
        batch_size: int | None = None,
    ):
        self._settings = spec, batch_size, num_cpus
        self._pool = pool

    def __enter__(self) -> "OneProcess":
        self._connection, other = Pipe()
        threads = str(max(1, int(self._settings[-1])))
        self._process = subprocess.Popen(
            [sys.executable, "-c", _COMMAND.format(other.fileno())],
            env={**os.environ, "PYTHONPATH": python_path(), "OMP_NUM_THREADS": threads},
            pass_fds=[other.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        other.close()
        return self

    def __exit__(self, *_: Any) -> None:
        self._connection.close()
        self._process.kill()
        self._process.wait()

    def map(self, units: Iterable[tuple[str, ReadUnit]]) -> Iterator[UnitResult]:
        """Encode units of parts, in their order. Parts fail as in `embedders.pool.pool.Pool.map`.

        Args:
            units: (name, read) for each unit. `read` runs in this process and returns
                (part id, content) pairs.

        Raises:
            EncoderError: the encoder itself does not work.
            Exception: whatever `read` raises.
        """
        remaining = iter(units)
        for name, read in remaining:
            parts = read()
            try:
                self._connection.send((*self._settings, parts))
                reply = self._connection.recv()
            except (EOFError, ConnectionError):  # the process died
                with self._pool() as pool:
                    yield from pool.map(chain([(name, read)], remaining))
                return
            if isinstance(reply, Exception):
                raise reply
            yield UnitResult(name, *reply)


def serve(descriptor: int) -> None:
    """Encode the units that arrive on a connection until it is closed. Runs in the process."""
    connection, actor = Connection(descriptor), None
    while True:
        try:
            spec, batch_size, num_cpus, parts = connection.recv()
        except EOFError:
            return
        reply: Encoded | Exception
        try:
            actor = actor or EncoderActor(spec, batch_size, num_cpus, 0)
            prepared, summary = prepare(spec, lambda parts=parts: parts)  # type: ignore[misc]
            failed = failures_only(summary.failed, actor.dim())
            reply = concatenate([failed, actor.encode(prepared)], actor.dim())
        except Exception as error:
            reply = error
        connection.send(reply)
