"""Encode few parts in one other process, without Ray, whose processes take seconds to start.

The process is not this one, because an encoder can crash its process. If that happens, a pool
encodes the units that are left: it finds the parts that crash an encoder. It also takes over if
the encoder needs longer than a pool needs to start.
"""

import os
import subprocess
import sys
import time
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
from embedders.registry import load_encoder
from store.cores import core_count

if TYPE_CHECKING:
    from embedders.pool.pool import Pool  # imports Ray

ALONE_SECONDS = 10.0  # of encoding, after which a pool takes over
_COMMAND = "from embedders.pool.one_process import serve; serve({})"


class EncodingProcess:
    """A process that encodes with one encoder after the other, for the length of a `with` block.

    It is started when it is first needed, and again after it died.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen | None = None
        self._connection: Connection | None = None

    def __enter__(self) -> "EncodingProcess":
        return self

    def __exit__(self, *_: Any) -> None:
        self._end()

    @property
    def pid(self) -> int | None:
        """The number of the process while it runs."""
        return None if self._process is None else self._process.pid

    def encode(
        self, spec: str, batch_size: int | None, threads: int, parts: list[tuple[str, Any]]
    ) -> Encoded | None:
        """Encode parts. The number of threads is that of the first call.

        Returns:
            None if the process died.

        Raises:
            Exception: whatever the encoder raises.
        """
        connection = self._connection or self._start(threads)
        try:
            connection.send((spec, batch_size, threads, parts))
            reply = connection.recv()
        except (EOFError, ConnectionError):
            self._end()
            return None
        if isinstance(reply, Exception):
            raise reply
        return reply

    def _start(self, threads: int) -> Connection:
        own, other = Pipe()
        self._process = subprocess.Popen(
            [sys.executable, "-c", _COMMAND.format(other.fileno())],
            env={**os.environ, "PYTHONPATH": python_path(), "OMP_NUM_THREADS": str(threads)},
            pass_fds=[other.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        other.close()
        self._connection = own
        return own

    def _end(self) -> None:
        if self._process is not None and self._connection is not None:
            self._connection.close()
            self._process.kill()
            self._process.wait()
        self._process = self._connection = None


class OneProcess:
    """Encodes units one after the other in one process, for the length of a `with` block.

    Args:
        spec: the encoder's spec (see `embedders.registry`).
        pool: makes the pool that takes over if the process dies, or after `ALONE_SECONDS`.
        num_cpus: the number of threads of the process. None: as many as it may use CPUs.
        batch_size: the largest cost of a forward pass; see `embedders.pool.pool.Pool`.
        process: is shared with other encoders. None: one that ends with the block.
    """

    def __init__(
        self,
        spec: str,
        pool: "Callable[[], Pool]",
        *,
        num_cpus: float | None = None,
        batch_size: int | None = None,
        process: EncodingProcess | None = None,
    ):
        threads = core_count() if num_cpus is None else max(1, int(num_cpus))
        self._settings = spec, batch_size, threads
        self._pool = pool
        self._process = process or EncodingProcess()
        self._is_shared = process is not None

    def __enter__(self) -> "OneProcess":
        return self

    def __exit__(self, *_: Any) -> None:
        if not self._is_shared:
            self._process.__exit__()

    def map(self, units: Iterable[tuple[str, ReadUnit]]) -> Iterator[UnitResult]:
        """Encode units of parts, in their order. Parts fail as in `embedders.pool.pool.Pool.map`.

        Args:
            units: (name, read) for each unit. `read` runs in this process and returns
                (part id, content) pairs.

        Raises:
            EncoderError: the encoder itself does not work.
            Exception: whatever `read` raises.
        """
        remaining, seconds = iter(units), 0.0
        for name, read in remaining:
            parts = read()
            started = time.monotonic()
            reply = None
            if seconds <= ALONE_SECONDS:
                reply = self._process.encode(*self._settings, parts)
            if reply is None:  # it takes long, or the process died
                with self._pool() as pool:
                    yield from pool.map(chain([(name, read)], remaining))
                return
            seconds += time.monotonic() - started
            yield UnitResult(name, *reply)


def serve(descriptor: int) -> None:
    """Encode the units that arrive on a connection until it is closed. Runs in the process."""
    connection, actor, encoder = Connection(descriptor), None, None
    while True:
        try:
            spec, batch_size, threads, parts = connection.recv()
        except EOFError:
            return
        reply: Encoded | Exception
        try:
            if spec != encoder:
                actor = None
                load_encoder.cache_clear()  # frees the memory of the last encoder
                actor, encoder = EncoderActor(spec, batch_size, threads, 0), spec
            assert actor is not None
            prepared, summary = prepare(spec, lambda parts=parts: parts)  # type: ignore[misc]
            failed = failures_only(summary.failed, actor.dim())
            reply = concatenate([failed, actor.encode(prepared)], actor.dim())
        except Exception as error:
            reply = error
        connection.send(reply)
