"""Units of a stage, done by Beam or by Ray tasks: as corpus.yaml says, or as many as there are."""

from collections.abc import Callable, Iterable
from typing import Any

from pipelines.engine import crash_markers
from pipelines.engine.memory import limit_retained_memory
from pipelines.engine.work import Work
from store.config.engine import Engine
from store.tables.staging import StageRun

_WORTH_RAY = 4  # units; Ray takes three seconds to start


def run_units(
    engine: Engine,
    run: StageRun,
    units: Iterable[Any],
    work: Callable[[Any], Work],
    name: Callable[[Any], str] = str,
) -> None:
    """Do the units that staging does not have yet; `work` is picklable and makes one's work."""
    limit_retained_memory()  # here, where all of it is published from, as in the workers
    done = set(run.done())
    todo = [unit for unit in units if name(unit) not in done]
    if not todo:
        return
    few = len(todo) < _WORTH_RAY and not crash_markers.were_left(
        run
    )  # Ray outlives a worker's death
    if engine.signals == "beam" or (engine.signals == "auto" and few):
        from pipelines.engine import beam  # Ray's workers have no need of Beam

        beam.run_on_beam(engine.beam, run, todo, work, name)
    else:
        from pipelines.engine import ray_tasks

        ray_tasks.run_on_ray(engine.ray, run, todo, work, name)
