"""Runs the units of a stage in this process, on Beam or on Ray, as corpus.yaml says."""

from collections.abc import Callable, Iterable
from typing import Any

from pipelines.engine import crash_markers
from pipelines.engine.memory import limit_retained_memory
from pipelines.engine.work import Work
from store.config.engine import Engine
from store.errors import ConfigError
from store.tables.staging import StageRun

_MIN_UNITS_FOR_RAY = 4  # Ray takes three seconds to start, and Beam two to be imported


def run_units(
    engine: Engine,
    run: StageRun,
    units: Iterable[Any],
    work: Callable[[Any], Work],
    name: Callable[[Any], str] = str,
) -> None:
    """Do the units that staging does not have yet. Staged units that are not listed are discarded.

    The names of units may depend on where the rows are in another table. If that table was made
    again with the same rows between two attempts, the run key is the same and the names are not.

    `engine.signals: auto` does few units in this process. If an earlier attempt crashed, it takes
    Ray, which outlives the death of a worker.

    Args:
        run: the stage's staging.
        units: all units of the stage; picklable.
        work: makes the work of a unit; picklable.
        name: returns a unit's name, unique within the run; picklable.

    Raises:
        IsotropeError: the error of the work. `CrashError`: a unit killed its process too often.
            `ConfigError`: workers staged units where this process cannot read them.
    """
    limit_retained_memory()  # this process publishes all rows, so its memory is limited too
    by_name = {name(unit): unit for unit in units}
    done = set(run.discard_others(by_name.keys()))
    todo = [unit for each, unit in by_name.items() if each not in done]
    if not todo:
        return
    few = len(todo) < _MIN_UNITS_FOR_RAY and not crash_markers.have_crashes(run)
    if engine.signals == "auto" and few and engine.beam.is_default:
        for unit in todo:
            rows = work(unit)
            run.append(name(unit), rows, rows.outcome)
    elif engine.signals == "beam" or (engine.signals == "auto" and few):
        from pipelines.engine import beam  # Ray's workers do not need to import Beam

        beam.run_on_beam(engine.beam, run, todo, work, name)
    else:
        from pipelines.engine import ray_tasks

        ray_tasks.run_on_ray(engine.ray, run, todo, work, name)
    _check_staged(run, {name(unit) for unit in todo})


def _check_staged(run: StageRun, units: set[str]) -> None:
    """Check that units that were done are in the staging that this process sees."""
    if lost := units.difference(run.done()):
        raise ConfigError(
            f"{run.stage}: workers did {len(units):,} units, and the rows of {len(lost):,} of them"
            f" are not in {run.tables.root}: `tables` of corpus.yaml must be an object store, or a"
            " folder on a disk that all workers share"
        )
