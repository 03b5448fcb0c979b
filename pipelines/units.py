"""Units of a stage, done by Beam or by Ray tasks: as corpus.yaml says, or as many as there are."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

import pyarrow as pa

from pipelines import crumbs
from pipelines.malloc import keep_little
from store.config import Engine
from store.stage import StageRun, UnitOutcome

_WORTH_RAY = 4  # units; Ray takes three seconds to start


class Work(Protocol):
    """One unit in progress: its rows as they come, then what became of its records."""

    def __iter__(self) -> Iterator[pa.RecordBatch]: ...

    def outcome(self) -> UnitOutcome: ...


def do_units(
    engine: Engine,
    run: StageRun,
    units: Iterable[Any],
    work: Callable[[Any], Work],
    name: Callable[[Any], str] = str,
) -> None:
    """Do the units that staging does not have yet; `work` is picklable and makes one's work."""
    keep_little()  # here, where all of it is published from, as in the workers
    done = set(run.done())
    todo = [unit for unit in units if name(unit) not in done]
    if not todo:
        return
    few = len(todo) < _WORTH_RAY and not crumbs.were_left(run)  # Ray outlives a worker's death
    if engine.signals == "beam" or (engine.signals == "auto" and few):
        from pipelines import beam  # Ray's workers have no need of Beam

        beam.do_units(engine.beam, run, todo, work, name)
    else:
        from pipelines import tasks

        tasks.do_units(engine.ray, run, todo, work, name)
