"""Which requests are answered now, which wait, and which are refused: a bounded queue and rates."""

import asyncio
import contextvars
import math
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TypeVar

from store.errors import BusyError, QueryTimeoutError

T = TypeVar("T")


class OverloadedError(BusyError):
    """The server has no room for another request, or a key sends too many.

    Args:
        message: what is full.
        reason: `queue` or `rate`, for the metrics.
        retry_after: in how many seconds the client should send the request again.
    """

    def __init__(self, message: str, reason: str, retry_after: float):
        super().__init__(message)
        self.reason = reason
        self.retry_after = max(1, math.ceil(retry_after))


class Place:
    """The place of one request in the queue, from before its body is read to its answer."""

    def __init__(self, pool: ThreadPoolExecutor, limit: asyncio.Timeout):
        self._pool = pool
        self._limit = limit
        self._loop = asyncio.get_running_loop()
        self.future: Future | None = None

    async def run(self, work: Callable[[], T]) -> T:
        """Run blocking work in a thread, once it is this request's turn."""
        context = contextvars.copy_context()
        self.future = self._pool.submit(context.run, work)
        return await asyncio.wrap_future(self.future)

    def shorten(self, seconds: float) -> None:
        """Allow the request only so many seconds from now. Call it from the work's thread."""
        self._loop.call_soon_threadsafe(self._shorten, self._loop.time() + seconds)

    def _shorten(self, end: float) -> None:
        current = self._limit.when()
        if current is not None and end < current and not self._limit.expired():
            self._limit.reschedule(end)


class WorkQueue:
    """Answers a number of requests at once; others wait. Use it from one event loop.

    A request that times out leaves its place when its thread ends, not before, so that threads and
    memory stay bounded whatever clients do.

    Args:
        threads: requests that are answered at once.
        queue: requests that may wait.
        timeout: the most seconds of one request, with reading its body and its time in the queue.
    """

    def __init__(self, threads: int, queue: int, timeout: float):
        self.threads = threads
        self.queue = queue
        self.timeout = timeout
        self.inside = 0
        self._seconds = 0.1  # that a request takes: a moving average
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="search")

    @property
    def waiting(self) -> int:
        """How many requests wait for a thread."""
        return max(0, self.inside - self.threads)

    @asynccontextmanager
    async def admit(self) -> AsyncIterator[Place]:
        """Give a request a place.

        Raises:
            OverloadedError: the queue is full.
            QueryTimeoutError: the `async with` block did not end in time.
        """
        if self.inside >= self.threads + self.queue:
            seconds = self._seconds * self.inside / self.threads
            raise OverloadedError(f"{self.waiting} requests are waiting already", "queue", seconds)
        loop = asyncio.get_running_loop()
        start = loop.time()
        self.inside += 1
        place = None
        try:
            async with asyncio.timeout(self.timeout) as limit:
                place = Place(self._pool, limit)
                yield place
        except QueryTimeoutError:
            raise
        except TimeoutError:
            raise QueryTimeoutError(
                f"no answer within {loop.time() - start:.3g} s; the server allows a request"
                f" {self.timeout:g} s"
            ) from None
        finally:
            future = place.future if place else None
            if future is None or future.done():
                self._leave(start)
            else:  # a thread cannot be interrupted
                leave = lambda _: loop.call_soon_threadsafe(self._leave, start)  # noqa: E731
                future.add_done_callback(leave)

    def close(self) -> None:
        """Stop the threads. Requests that wait are cancelled."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _leave(self, start: float) -> None:
        self.inside -= 1
        self._seconds += 0.1 * (asyncio.get_running_loop().time() - start - self._seconds)


class RateLimit:
    """A token bucket for each API key.

    Args:
        rate: requests a second, on average.
        burst: requests that may come at once.
    """

    def __init__(self, rate: float, burst: int):
        self.rate = rate
        self.burst = burst
        self._buckets: dict[str, tuple[float, float]] = {}  # tokens, and when they were counted

    def take(self, name: str) -> None:
        """Count a request of a key.

        Raises:
            OverloadedError: the key has sent too many.
        """
        now = time.monotonic()
        tokens, counted = self._buckets.get(name, (float(self.burst), now))
        tokens = min(self.burst, tokens + self.rate * (now - counted))
        if tokens < 1:
            self._buckets[name] = (tokens, now)
            raise OverloadedError(
                f"the key {name!r} sends more than {self.rate:g} requests a second",
                "rate",
                (1 - tokens) / self.rate,
            )
        self._buckets[name] = (tokens - 1, now)
