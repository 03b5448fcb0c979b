"""Runs the units of a stage as Ray tasks.

Ray keeps one worker process per core, which loads its decoders and models once. One unit is one
task; its rows go to staging, and the task returns None. (Beam's local runner serialises every
element, and its workers wait for bundles.)
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import ray
from ray.exceptions import OutOfMemoryError, RayTaskError, WorkerCrashedError

from embedders.pool.ray_cluster import cluster, cpus
from pipelines.engine import crash_markers
from pipelines.engine.kept_values import Kept, KeptFile, KeptOnRay
from pipelines.engine.memory import limit_retained_memory
from pipelines.engine.work import Work
from store.config.engine import Ray, Tasks
from store.corrections.kernels.threads import one_blas_thread
from store.errors import CrashError, IsotropeError
from store.tables.staging import StageRun

_DEATHS = (WorkerCrashedError, OutOfMemoryError)
_TASKS_PER_CORE = 2  # submitted at a time, so that no core waits for the driver
_AHEAD = 8  # results of a task that its caller has not read


def run_on_ray(
    engine: Ray,
    run: StageRun,
    units: Sequence[Any],
    work: Callable[[Any], Work],
    name: Callable[[Any], str],
) -> None:
    """Do units as Ray tasks. A unit whose process dies is done again.

    A unit that writes crash markers is retried until it is past its deadly records; any other unit
    is retried once.

    Args:
        run: the stage's staging, which has none of the units.
        work: makes the work of a unit; picklable.
        name: returns a unit's name; picklable.

    Raises:
        CrashError: a unit killed its process too often.
        IsotropeError: the error of the work, as it was raised there. An exception of another type
            is raised as a `RayTaskError`.
    """
    deaths = Counter[str]()
    with cluster(engine.address):
        while died := _attempt(engine.tasks, run, units, work, name):
            run.open()  # removes the rows that the dead processes have staged
            done = set(run.done())  # a process may have died just after it had staged its unit
            units = [unit for unit in died if name(unit) not in done]
            for unit in map(name, units):
                deaths[unit] += 1
                crash_markers.count_death(run, unit)
                if not crash_markers.should_retry(run, unit, deaths[unit]):
                    raise CrashError(
                        f"{run.stage} of drop {run.drop!r}: unit {unit} killed its process"
                        f" {deaths[unit]} times"
                    )


def _attempt(
    each: Tasks,
    run: StageRun,
    units: Iterable[Any],
    work: Callable[[Any], Work],
    name: Callable[[Any], str],
) -> list[Any]:
    """Do units in parallel; returns those whose process died."""
    shared = ray.put((run, work, name))
    do = _do.options(num_cpus=each.num_cpus, memory=each.memory)
    max_running = _max_running()
    waiting, running, died = iter(units), dict[Any, Any](), list[Any]()
    while True:
        while len(running) < max_running and (unit := next(waiting, None)) is not None:
            running[do.remote(shared, unit)] = unit
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


@ray.remote(max_retries=0)
def _do(shared: tuple[StageRun, Callable[[Any], Work], Callable[[Any], str]], unit: Any) -> None:
    run, make_work, name = shared
    limit_retained_memory()
    work = make_work(unit)
    run.append(name(unit), work, work.outcome)


def results_in_order(
    function: Callable[[Any, Any], Any],
    shared: Any,
    arguments: Iterable[Any],
    *,
    on_ray: bool,
    num_gpus: float = 0,
) -> Iterator[Any]:
    """`function(shared, argument)` of each argument, in order: by Ray tasks, or in this process.

    Args:
        function: picklable.
        shared: is sent to the cluster once.
        arguments: read only so far ahead as keeps the cluster busy.
        on_ray: this process is connected to Ray, and the tasks run there.
        num_gpus: that each task asks for.
    """
    if not on_ray:
        yield from (function(shared, argument) for argument in arguments)
        return
    reference, task = ray.put(shared), ray.remote(function).options(num_gpus=num_gpus)
    yield from map(ray.get, _in_order(task.remote(reference, each) for each in arguments))


def kept_in_order(
    function: Callable[[Any, Any], tuple[Any, Any]],
    shared: Any,
    arguments: Iterable[Any],
    *,
    on_ray: bool,
) -> Iterator[tuple[Any, Any]]:
    """What `function(shared, argument)` returns for each argument, in order: two values.

    On Ray the second one stays in the object store, and its reference is given. A task whose
    process dies is done again.

    Args:
        function: picklable; returns the same second value each time.
        shared: is sent to the cluster once.
        arguments: read only so far ahead as keeps the cluster busy.
        on_ray: this process is connected to Ray, and the tasks run there; else in this process.
    """
    if not on_ray:
        yield from (function(shared, argument) for argument in arguments)
        return
    reference = ray.put((function, shared))
    for result, kept in _in_order(_kept.remote(reference, each) for each in arguments):
        yield ray.get(result), kept


@ray.remote(num_returns=2)
def _kept(
    shared: tuple[Callable[[Any, Any], tuple[Any, Any]], Any], argument: Any
) -> tuple[Any, Any]:
    function, of_all = shared
    limit_retained_memory()
    with one_blas_thread():
        return function(of_all, argument)


def _in_order(replies: Iterable[Any]) -> Iterator[Any]:
    """The replies of Ray tasks, in the order in which the tasks were submitted.

    Args:
        replies: what `remote` returns, from an iterator that submits a task for each. It is read
            only so far ahead as keeps the cluster busy.
    """
    max_running = _max_running()
    waiting: list[Any] = []
    for reply in replies:
        waiting.append(reply)
        if len(waiting) >= max_running:
            yield waiting.pop(0)
    while waiting:
        yield waiting.pop(0)


class After(NamedTuple):
    """The argument of a task that starts after others, so that no worker waits for them."""

    argument: Any
    done: list[ray.ObjectRef]


def streams_in_order(
    function: Callable[[Any, Any], Iterable[Any]],
    shared: Any,
    arguments: Iterable[Any],
    *,
    on_ray: bool,
) -> Iterator[Any]:
    """What `function(shared, argument)` yields for each argument, in order.

    On Ray a task waits when its caller is `_AHEAD` results behind, so neither holds all of them. A
    task whose process dies is done again.

    Args:
        function: picklable; yields the same results each time.
        shared: is sent to the cluster once.
        arguments: read only so far ahead as keeps the cluster busy; each, or `After` with it.
        on_ray: this process is connected to Ray, and the tasks run there; else in this process.
    """
    of_tasks = (each if isinstance(each, After) else After(each, []) for each in arguments)
    if not on_ray:
        for argument, _ in of_tasks:
            yield from function(shared, argument)
        return
    reference = ray.put((function, shared))
    ahead = {"_generator_backpressure_num_objects": _AHEAD}
    task = _stream.options(num_returns="streaming", **ahead)
    replies = (task.remote(reference, argument, *done) for argument, done in of_tasks)
    for stream in _in_order(replies):
        yield from map(ray.get, stream)


@ray.remote
def _stream(
    shared: tuple[Callable[[Any, Any], Iterable[Any]], Any], argument: Any, *done: None
) -> Iterator:
    function, of_all = shared
    limit_retained_memory()
    with one_blas_thread():
        yield from function(of_all, argument)


class KeptParts(NamedTuple):
    """What some tasks keep for others.

    Attributes:
        values: of each task, of each part.
        done: references, for `After`.
    """

    values: list[list[Kept]]
    done: list[ray.ObjectRef]


def kept_parts(
    function: Callable[[Any, Any], Iterable[Any]],
    shared: Any,
    arguments: Sequence[Any],
    parts: int,
    folder: Path,
    *,
    on_ray: bool,
) -> KeptParts:
    """Keep what `function(shared, argument)` yields for each argument: so many parts.

    On Ray this submits the tasks and does not wait for them. A part that is lost with its process
    or node is made again.

    Args:
        function: picklable; yields the same results each time.
        shared: is sent to the cluster once.
        arguments: of the tasks.
        parts: the number of results of each task.
        folder: for the files of this process, which must exist as long as parts are read.
        on_ray: this process is connected to Ray, and the tasks run there; else in this process.
    """
    if not on_ray:
        files = [
            [
                KeptFile(folder / f"{number}-{part}", value)
                for part, value in enumerate(function(shared, argument))
            ]
            for number, argument in enumerate(arguments)
        ]
        return KeptParts(cast(list[list[Kept]], files), [])
    reference, task = ray.put((function, shared)), _keep.options(num_returns=1 + parts)
    replies = [task.remote(reference, each) for each in arguments]
    values = [[cast(Kept, KeptOnRay(each)) for each in reply[1:]] for reply in replies]
    return KeptParts(values, [reply[0] for reply in replies])


@ray.remote
def _keep(shared: tuple[Callable[[Any, Any], Iterable[Any]], Any], argument: Any) -> Iterator:
    function, of_all = shared
    limit_retained_memory()
    with one_blas_thread():
        yield None
        yield from function(of_all, argument)


def _max_running() -> int:
    return _TASKS_PER_CORE * cpus()
