"""A pool of Ray actors that run one encoder.

Reading and preparing run in CPU tasks ahead of the actors, a bounded number of bytes at a time;
each actor has its next unit waiting while it encodes one. An actor loads its model once. A unit
whose actor dies is redone once, on a new actor; if that dies too, the unit is halved until the
parts that kill are alone, and those fail. The same holds for parts that kill the process that
prepares them.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import ray
from ray.exceptions import RayActorError

from embedders.pool.actors import _STARTS, DEATHS, Slot, get
from embedders.pool.ray_cluster import cluster, object_store_bytes, require
from embedders.pool.scheduler import Scheduler
from embedders.pool.worker import Actor, Failures, Load
from store.errors import EncoderError


@dataclass(frozen=True)
class UnitResult:
    """A unit's vectors, float32 (len(ids), d), and the parts that have none."""

    name: str
    ids: list[str]
    vectors: np.ndarray
    failed: Failures


class Pool:
    """Actors of one encoder, for the length of a `with` block.

    Args:
        spec: the encoder, as spaces name it.
        actors: how many; each reserves `num_cpus` and `num_gpus` and runs that many threads.
        num_gpus: a share of one GPU (0.25: four actors on each), or a whole number of them. Two
            actors on a GPU overlap the copying of the one with the computing of the other.
        batch_size: what a forward pass may cost, in ordinary inputs, halved where memory runs out;
            None is 32, and on a GPU doubled for as long as memory lasts.
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
        self.slots: list[Slot] = []
        self._cluster = cluster(address)

    def __enter__(self) -> "Pool":
        self._cluster.__enter__()
        try:
            spare = require(self.size, self.num_cpus, self.num_gpus)
            self.workers = max(1, int(spare))
            self.prepared_bytes = object_store_bytes() // 4
            self.slots = [Slot(*self._start()) for _ in range(self.size)]
            (self.dim,) = {self._started(slot) for slot in self.slots}
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc: Any) -> None:
        for slot in self.slots:
            ray.kill(slot.actor)
        self.slots = []
        self._cluster.__exit__(None, None, None)

    def map(self, units: Iterable[tuple[str, Load]]) -> Iterator[UnitResult]:
        """Encode units of parts; results come in the order in which they are ready.

        `load` runs in a CPU task and returns (part id, content) pairs; it must be picklable. Parts
        fail with the rules of the encoder's `prepare`, or `encoder.error` (it raised),
        `encoder.nan` (its vector is not finite), `encoder.cost` (it costs no positive number),
        `encoder.crash` (its process died, twice).

        Units are taken as there is room for them, so whoever takes results slowly slows the
        reading down.

        Raises EncoderError where the encoder itself does not work, and whatever `load` raises.
        """
        for name, encoded in Scheduler(self, units):
            yield UnitResult(name, *encoded)

    def replace(self, slot: Slot) -> bool:
        """Put a new actor in a dead one's place; whether that one had ever been ready for work.

        Raises EncoderError where several in a row were not.
        """
        try:
            get(slot.started)
            alive = True
        except DEATHS:
            alive = False
        # Ray's own restarts refuse calls while they last, which looks like another death.
        ray.kill(slot.actor)
        slot.actor, slot.started = self._start()
        if not alive:
            self._started(slot)
        return alive

    def _start(self) -> tuple[Any, Any]:
        options = ray.remote(Actor).options(num_cpus=self.num_cpus, num_gpus=self.num_gpus)
        actor = options.remote(self.spec, self.batch_size, self.num_cpus, self.num_gpus)
        return actor, actor.dim.remote()

    def _started(self, slot: Slot) -> int:
        for left in reversed(range(_STARTS)):
            try:
                return get(slot.started)
            except DEATHS as error:
                failed = isinstance(error, RayActorError) and error.actor_init_failed
                if failed or not left:
                    raise EncoderError(f"{self.spec} does not start: {error}") from error
            ray.kill(slot.actor)
            slot.actor, slot.started = self._start()
        raise AssertionError
