"""Units of a stage as Ray tasks: a process a core, each with its decoders and models loaded once.

Beam's local runner passes every element through its own protocol and keeps its workers waiting for
bundles; a unit here is one task, and what comes back is nothing.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import ray
from ray.exceptions import OutOfMemoryError, RayTaskError, WorkerCrashedError

from embedders.pool.ray_cluster import cluster
from pipelines.engine import crash_markers
from pipelines.engine.memory import limit_retained_memory
from pipelines.engine.work import Work
from store.config.engine import Ray
from store.errors import CrashError, IsotropeError
from store.tables.staging import StageRun

_DEATHS = (WorkerCrashedError, OutOfMemoryError)
_AHEAD = 2  # tasks a core that are handed over: none waits for the driver


def run_on_ray(
    engine: Ray,
    run: StageRun,
    units: Sequence[Any],
    work: Callable[[Any], Work],
    name: Callable[[Any], str],
) -> None:
    """Do units, none of which staging has. Those whose process died are done again: once, or, where
    they leave crumbs, until they are past what takes their processes down.

    Raises whatever the work raises, and CrashError where a unit kills time and again.
    """
    deaths = Counter[str]()
    with cluster(engine.address):
        while died := _attempt(run, units, work, name):
            run.open()  # drops the rows that they left
            done = set(run.done())  # one may have died after its last word
            units = [unit for unit in died if name(unit) not in done]
            for unit in map(name, units):
                deaths[unit] += 1
                crash_markers.blame(run, unit)
                if not crash_markers.may_die_again(run, unit, deaths[unit]):
                    raise CrashError(
                        f"{run.stage} of drop {run.drop!r}: unit {unit} killed its process"
                        f" {deaths[unit]} times"
                    )


def _attempt(
    run: StageRun,
    units: Iterable[Any],
    work: Callable[[Any], Work],
    name: Callable[[Any], str],
) -> list[Any]:
    """Do units side by side; returns those whose process died."""
    shared = ray.put((run, work, name))
    most = _AHEAD * max(1, int(ray.cluster_resources().get("CPU", 1)))
    waiting, running, died = iter(units), dict[Any, Any](), list[Any]()
    while True:
        while len(running) < most and (unit := next(waiting, None)) is not None:
            running[_do.remote(shared, unit)] = unit
        if not running:
            return died
        (reply, *_), _ = ray.wait(list(running), num_returns=1)
        unit = running.pop(reply)
        try:
            ray.get(reply)
        except _DEATHS:
            died.append(unit)
        except RayTaskError as error:
            cause = getattr(error, "cause", None)
            if isinstance(cause, IsotropeError):
                raise cause from None
            raise


@ray.remote(num_cpus=1, max_retries=0)
def _do(shared: tuple[StageRun, Callable[[Any], Work], Callable[[Any], str]], unit: Any) -> None:
    run, make, name = shared
    limit_retained_memory()
    work = make(unit)
    run.append(name(unit), work, work.outcome)


def in_order(replies: Iterable[Any]) -> Iterator[Any]:
    """The results of Ray tasks in the order of their submission, no more tasks under way than
    keep the cluster busy."""
    ahead = 2 * max(1, int(ray.cluster_resources().get("CPU", 1)))
    waiting: list[Any] = []
    for reply in replies:
        waiting.append(reply)
        if len(waiting) >= ahead:
            yield ray.get(waiting.pop(0))
    while waiting:
        yield ray.get(waiting.pop(0))
