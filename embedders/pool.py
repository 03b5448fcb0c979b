"""A pool of Ray actors that run one encoder.

Reading and preparing run in CPU tasks ahead of the actors, a bounded number of units at a time.
An actor loads its model once. A unit whose actor dies is redone once, on a new actor; if that
dies too, the unit is halved until the parts that kill are alone, and those fail. The same holds
for parts that kill the process that prepares them.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import ray
from ray.exceptions import OutOfMemoryError, RayActorError, RayTaskError, WorkerCrashedError

from embedders.actor import Actor, Encoded, Failures, Load, Prepared, joined, part_ids, prepare
from embedders.cluster import cluster, require
from store.errors import EncoderError, IsotropeError, RecordError

_DEATHS = (RayActorError, WorkerCrashedError, OutOfMemoryError)


@dataclass(frozen=True)
class UnitResult:
    """A unit's vectors, float32 (len(ids), d), and the parts that have none."""

    name: str
    ids: list[str]
    vectors: np.ndarray
    failed: Failures


@dataclass
class _Unit:
    name: str
    read: Load
    prepared: Any  # a reference to Prepared


class Pool:
    """Actors of one encoder, for the length of a `with` block.

    Args:
        spec: the encoder, as spaces name it.
        actors: how many; each reserves `num_cpus` and `num_gpus` and runs that many threads.
        batch_size: inputs a forward pass, halved where memory runs out; None is 32, and on a GPU
            doubled for as long as memory lasts.
        address: of a Ray cluster; see `cluster`.

    Entering raises EncoderError: the cluster has no room for the actors, or the encoder cannot be
    loaded.
    """

    def __init__(
        self,
        spec: str,
        *,
        actors: int = 1,
        num_cpus: float = 1,
        num_gpus: float = 0,
        batch_size: int | None = None,
        address: str | None = None,
    ):
        self.spec = spec
        self.size = actors
        self.num_cpus = num_cpus
        self.num_gpus = num_gpus
        self.batch_size = batch_size
        self._cluster = cluster(address)
        self._actors: list[Any] = []

    def __enter__(self) -> "Pool":
        self._cluster.__enter__()
        try:
            spare = require(self.size, self.num_cpus, self.num_gpus)
            self._ahead = self.size + max(1, int(spare))
            self._actors = [self._start() for _ in range(self.size)]
            self._dim = _get([actor.dim.remote() for actor in self._actors])[0]
        except RayActorError as error:
            self.__exit__()
            raise EncoderError(f"{self.spec} does not start: {error}") from error
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc: Any) -> None:
        for actor in self._actors:
            ray.kill(actor)
        self._actors = []
        self._cluster.__exit__(None, None, None)

    def map(self, units: Iterable[tuple[str, Load]]) -> Iterator[UnitResult]:
        """Encode units of parts; results come in the order in which they are ready.

        `load` runs in a CPU task and returns (part id, content) pairs; it must be picklable. Parts
        fail with the rules of the encoder's `prepare`, or `encoder.error` (it raised),
        `encoder.nan` (its vector is not finite), `encoder.crash` (its process died, twice).

        Raises EncoderError where the encoder itself does not work, and whatever `load` raises.
        """
        waiting = iter(units)
        ahead: deque[_Unit] = deque()
        idle = deque(self._actors)
        busy: dict[Any, tuple[_Unit, Any]] = {}
        while True:
            while len(ahead) < self._ahead and (unit := next(waiting, None)):
                ahead.append(_Unit(*unit, prepare.remote(self.spec, unit[1])))
            while idle and ahead:
                unit_ahead, actor = ahead.popleft(), idle.popleft()
                busy[actor.encode.remote(unit_ahead.prepared)] = (unit_ahead, actor)
            if not busy:
                return
            (reply, *_), _ = ray.wait(list(busy), num_returns=1)
            done, actor = busy.pop(reply)
            encoded, actor = self._outcome(done, reply, actor)
            idle.append(actor)
            yield UnitResult(done.name, *encoded)

    def _start(self) -> Any:
        actor = ray.remote(Actor).options(num_cpus=self.num_cpus, num_gpus=self.num_gpus)
        return actor.remote(self.spec, self.batch_size, self.num_cpus, self.num_gpus)

    def _replaced(self, dead: Any) -> Any:
        # Ray's own restarts refuse calls while they last, which looks like another death.
        fresh = self._start()
        self._actors = [fresh if actor is dead else actor for actor in self._actors]
        return fresh

    def _outcome(self, unit: _Unit, reply: Any, actor: Any) -> tuple[Encoded, Any]:
        """What became of a unit, and the actor that goes on."""
        try:
            return _get(reply), actor
        except _DEATHS as death:
            if isinstance(death, RayActorError):
                actor = self._replaced(actor)
        try:
            prepared = _get(unit.prepared)
        except _DEATHS:
            prepared = self._prepared_apart(unit.read)
        return self._encoded_apart(prepared, actor)

    def _prepared_apart(self, read: Load) -> Prepared:
        ids = _get(part_ids.remote(read))

        def attempt(start: int, stop: int) -> Prepared:
            once = prepare.options(max_retries=0)
            return _get(once.remote(self.spec, read, start, stop))

        def died(part: int) -> Prepared:
            return Prepared([], [], [_crash(ids[part])])

        pieces = _apart(attempt, died, 0, len(ids))
        columns = zip(*pieces, strict=True)
        return Prepared(*([item for rows in column for item in rows] for column in columns))

    def _encoded_apart(self, prepared: Prepared, actor: Any) -> tuple[Encoded, Any]:
        alive = actor

        def attempt(start: int, stop: int) -> Encoded:
            nonlocal alive
            try:
                return _get(alive.encode.remote(prepared.cut(start, stop)))
            except _DEATHS:
                alive = self._replaced(alive)
                raise

        def died(part: int) -> Encoded:
            return Encoded([], np.empty((0, self._dim), np.float32), [_crash(prepared.ids[part])])

        pieces = _apart(attempt, died, 0, len(prepared.ids))
        encoded = joined(pieces, self._dim)
        encoded.failed.extend(prepared.failed)
        return encoded, alive


def _apart(
    attempt: Callable[[int, int], Any], died: Callable[[int], Any], start: int, stop: int
) -> list[Any]:
    """Attempt a range; where that kills a process, its halves, down to single parts."""
    if start == stop:
        return []
    try:
        return [attempt(start, stop)]
    except _DEATHS:
        if stop - start == 1:
            return [died(start)]
    middle = (start + stop) // 2
    return _apart(attempt, died, start, middle) + _apart(attempt, died, middle, stop)


def _get(reference: Any) -> Any:
    """`ray.get`, with errors of ours, and deaths, as they were before Ray wrapped them."""
    try:
        return ray.get(reference)
    except RayTaskError as error:
        cause = getattr(error, "cause", None)
        if isinstance(cause, (IsotropeError, *_DEATHS)):
            raise cause from None
        raise


def _crash(part: str) -> tuple[str, RecordError]:
    return part, RecordError("encoder.crash", "the encoder's process died of it, twice")
