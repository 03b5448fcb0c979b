"""The Ray actors of a pool: start, replace, and read their replies."""

from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import OutOfMemoryError, RayActorError, RayTaskError, WorkerCrashedError

from store.errors import IsotropeError

_STARTS = 3


@dataclass(eq=False)
class Slot:
    """An actor, and in its place the one that replaces it.

    `started` becomes the encoder's dimensions; `jobs` are what was sent to it, by the reply that
    they wait for, oldest first.
    """

    actor: Any
    started: Any
    jobs: dict[Any, Any] = field(default_factory=dict)


DEATHS = (RayActorError, WorkerCrashedError, OutOfMemoryError)


def get(reference: Any) -> Any:
    """`ray.get`, with errors of ours, and deaths, as they were before Ray wrapped them."""
    try:
        return ray.get(reference)
    except RayTaskError as error:
        cause = getattr(error, "cause", None)
        if isinstance(cause, (IsotropeError, *DEATHS)):
            raise cause from None
        raise
