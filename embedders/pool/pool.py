"""A pool of Ray actors that run one encoder.

CPU tasks read and prepare units ahead of the actors, up to a limit of bytes. Each actor has its
next unit waiting while it encodes one, and loads its model once. If an actor dies, its unit is
encoded again on a new actor. If that one dies too, the unit is halved, and the halves are halved,
until the parts that kill the process are alone; these fail. The same is done for parts that kill
the process that prepares them.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from embedders.pool.actors import Actors
from embedders.pool.ray_cluster import cluster, object_store_bytes
from embedders.pool.resources import Resources, node_resources, require_room
from embedders.pool.scheduler import Scheduler
from embedders.pool.worker import ReadUnit, UnitResult


class Pool:
    """Actors of one encoder, for the length of a `with` block.

    Args:
        spec: the encoder's spec (see `embedders.registry`).
        actors: the number of actors; each reserves `num_cpus` and `num_gpus`.
        num_cpus: CPUs of one actor, and its threads. None: one, but without GPUs on a cluster of
            one machine as many threads as it has CPUs for each actor.
        num_gpus: a share of one GPU (0.25: four actors on each), or a whole number of GPUs. Two
            actors on one GPU overlap the copying of one with the computation of the other.
        batch_size: the largest cost of a forward pass, in ordinary inputs (see
            `embedders.encoder.Encoder`). It is halved when memory runs out. None starts at 32,
            and on a GPU doubles it until memory runs out.
        address: of a Ray cluster; see `embedders.pool.ray_cluster.cluster`.
        accelerator_type: only GPUs of this kind, as Ray names it, such as A100.
        memory: bytes that each actor reserves.
        wait_seconds: how long to wait until a cluster that scales has room.

    Raises:
        EncoderError: on entering the block, if the cluster has no room for the actors or the
            encoder cannot be loaded.
    """

    def __init__(
        self,
        spec: str,
        *,
        actors: int = 1,
        num_cpus: float | None = None,
        num_gpus: float = 0,
        batch_size: int | None = None,
        address: str | None = None,
        accelerator_type: str | None = None,
        memory: int | None = None,
        wait_seconds: float = 0,
    ):
        self.size = actors
        self.each = Resources(num_cpus or 1, num_gpus, accelerator_type, memory)
        self.wait_seconds = wait_seconds
        self.actors = Actors(spec, self.each, batch_size)
        self._own_threads = num_cpus is None and not num_gpus
        self._cluster = cluster(address)

    def __enter__(self) -> "Pool":
        self._cluster.__enter__()
        try:
            # As many as there are CPUs, those of the actors included: once enough is prepared, no
            # task runs, so it takes the CPU only of an actor that waits for it or for a GPU.
            cpus = int(require_room(self.size, self.each, self.wait_seconds))
            self.prepare_tasks = max(1, cpus)
            self.prepared_bytes = object_store_bytes() // 4
            is_own = self._own_threads and len(node_resources()) == 1
            self.actors.start(self.size, cpus // self.size if is_own else int(self.each.num_cpus))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc: Any) -> None:
        self.actors.stop()
        self._cluster.__exit__(None, None, None)

    def map(self, units: Iterable[tuple[str, ReadUnit]]) -> Iterator[UnitResult]:
        """Encode units of parts. Results come in the order in which they are ready.

        A part fails with the rule that the encoder's `prepare` raised, or with `encoder.error`
        (the encoder raised another error), `encoder.nan` (its vector is not finite),
        `encoder.cost` (its cost is not a positive number), or `encoder.crash` (the process died
        of it twice).

        Units are taken from the iterable only when there is room for them, so reading slows down
        when the caller takes results slowly.

        Args:
            units: (name, read) for each unit. `read` must be picklable; it runs in a CPU task and
                returns (part id, content) pairs.

        Raises:
            EncoderError: the encoder itself does not work.
            Exception: whatever `read` raises.
        """
        scheduler = Scheduler(
            self.actors,
            units,
            prepare_tasks=self.prepare_tasks,
            prepared_bytes=self.prepared_bytes,
        )
        for name, encoded in scheduler:
            yield UnitResult(name, *encoded)
