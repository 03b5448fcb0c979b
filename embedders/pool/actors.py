"""The Ray actors of a pool: start them, replace dead ones, read their replies."""

from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import OutOfMemoryError, RayActorError, RayTaskError, WorkerCrashedError

from embedders.pool.resources import Resources
from embedders.pool.worker import EncoderActor
from store.errors import EncoderError, IsotropeError

# The errors that Ray raises when the process of a task or an actor died.
DEATHS = (RayActorError, WorkerCrashedError, OutOfMemoryError)
_START_ATTEMPTS = 3


def get_reply(reference: Any) -> Any:
    """`ray.get`, but isotrope's own errors and `DEATHS` are raised without Ray's wrapper."""
    try:
        return ray.get(reference)
    except RayTaskError as error:
        cause = getattr(error, "cause", None)
        if isinstance(cause, (IsotropeError, *DEATHS)):
            raise cause from None
        raise


@dataclass(eq=False)
class Slot:
    """One actor of the pool. When the actor dies, another one takes its slot.

    Attributes:
        actor: the Ray handle of the actor.
        ready: the reply of the actor's first call, which is the encoder's dimension. It arrives
            once the encoder is loaded.
        jobs: the jobs that were sent to the actor, by the reply of each, oldest first.
    """

    actor: Any
    ready: Any
    jobs: dict[Any, Any] = field(default_factory=dict)


class Actors:
    """The actors of one encoder.

    Args:
        spec: the encoder's spec (see `embedders.registry`).
        each: what each actor reserves.
        batch_size: see `EncoderActor`.

    Attributes:
        slots: one for each actor; empty before `start` and after `stop`.
        dim: the encoder's dimension, once `start` has returned.
        threads: of each actor.
    """

    def __init__(self, spec: str, each: Resources, batch_size: int | None):
        self.spec = spec
        self.each = each
        self.batch_size = batch_size
        self.slots: list[Slot] = []
        self.dim = 0
        self.threads = 1

    def start(self, count: int, threads: int) -> None:
        """Start `count` actors of `threads` threads; wait until each has loaded the encoder.

        Raises:
            EncoderError: the encoder cannot be loaded, or an actor died at every attempt.
        """
        self.threads = max(1, threads)
        for _ in range(count):
            self.slots.append(Slot(*self._create()))
        (self.dim,) = {self._wait_until_ready(slot) for slot in self.slots}

    def stop(self) -> None:
        """Kill all actors."""
        for slot in self.slots:
            ray.kill(slot.actor)
        self.slots = []

    def replace(self, slot: Slot) -> bool:
        """Start a new actor in the slot of a dead one.

        Returns:
            Whether the dead actor had loaded the encoder before it died.

        Raises:
            EncoderError: the dead actor had not loaded the encoder, and its replacement died at
                every attempt too.
        """
        try:
            get_reply(slot.ready)
            was_ready = True
        except DEATHS:
            was_ready = False
        self._restart(slot)
        if not was_ready:
            self._wait_until_ready(slot)
        return was_ready

    def _create(self) -> tuple[Any, Any]:
        options = ray.remote(EncoderActor).options(**self.each.options())
        actor = options.remote(self.spec, self.batch_size, self.threads, self.each.num_gpus)
        return actor, actor.dim.remote()

    def _restart(self, slot: Slot) -> None:
        # Ray's own restarts (max_restarts) refuse calls while they last, which looks like
        # another death. So each replacement is a new actor.
        ray.kill(slot.actor)
        slot.actor, slot.ready = self._create()

    def _wait_until_ready(self, slot: Slot) -> int:
        """Return the encoder's dimension; restart an actor that dies before it can answer."""
        for attempts_left in reversed(range(_START_ATTEMPTS)):
            try:
                return get_reply(slot.ready)
            except DEATHS as error:
                init_failed = isinstance(error, RayActorError) and error.actor_init_failed
                if init_failed or not attempts_left:
                    raise EncoderError(
                        f"{self.spec}: the encoder cannot be started in an actor: {error}"
                    ) from error
            self._restart(slot)
        raise AssertionError
