"""What `isotrope run` does: materialise what is missing, here and now, with Dagster's record of it.

Dagster, Ray and Beam are imported only where something is to be done.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipelines.sources.drops import Drop
from pipelines.stages import staleness
from store.errors import InputError, InvariantError
from store.tables import migrations
from store.tables.stages import BY_DROP, EVERY_DROP, GLOBAL, STAGES
from store.tables.staging import Counts, record
from store.workspace import Workspace

if TYPE_CHECKING:
    import dagster as dg


@dataclass(frozen=True)
class Step:
    """One stage that was made, of a drop or (drop: None) of the corpus."""

    stage: str
    drop: str | None
    counts: Counts
    seconds: float


def run_missing(
    workspace: Workspace,
    drop: str | None = None,
    select: str | Iterable[str] | None = None,
    on_step: Callable[[str, str | None], None] = lambda stage, drop: None,
) -> list[Step]:
    """Materialise the stages that are missing or out of date; return those that were made.

    Args:
        drop: look at this drop alone (the global stages follow all the same).
        select: only this stage, or these.
        on_step: called with stage and drop (None: a global stage) when one begins.

    Raises:
        InputError: there is no such drop or stage.
        InvariantError: a check of a table failed; what is downstream of it was not made.
        DamagedTableError: a table cannot be opened.
        IsotropeError: a pipeline failed; its table stays as it was.
    """
    migrations.migrate_all(workspace.tables)
    drops = staleness.drops(workspace)
    if drop is not None and drop not in drops:
        raise InputError(f"no source delivers a drop {drop!r}; delivered: {', '.join(drops)}")
    chosen = drops if drop is None else {drop: drops[drop]}
    made: list[Step] = []
    with ExitStack() as until_the_end:
        runner: _Runner | None = None
        for stage, name in _missing(workspace, chosen, _stages(select)):
            runner = runner or _Runner(workspace, until_the_end)
            on_step(stage, name)
            started = time.monotonic()
            runner.make(stage, name)
            counts = _counts(workspace, stage, name)
            made.append(Step(stage, name, counts, time.monotonic() - started))
    return made


def _missing(
    workspace: Workspace, drops: Mapping[str, Drop], wanted: list[str]
) -> Iterator[tuple[str, str | None]]:
    """Stages and their drops, in order. Whoever iterates makes each before asking for the next."""
    for name, drop in drops.items():
        for stage in _stale(workspace, drop, BY_DROP, wanted):
            yield stage, name
    for stage in _stale(workspace, None, GLOBAL, wanted):
        yield stage, None


def _stale(
    workspace: Workspace, drop: Drop | None, stages: Iterable[str], wanted: list[str]
) -> Iterator[str]:
    found = staleness.stale(workspace, drop)
    for stage in stages:
        if stage in wanted and stage in found:
            yield stage
            # A stage that came out the same as before leaves those after it up to date.
            found = staleness.stale(workspace, drop)


class _Runner:
    """Dagster, ready to make stages in this process; Ray joins it when it is first needed."""

    def __init__(self, workspace: Workspace, stack: ExitStack):
        from assets import checks, corpus_assets, drop_assets
        from orchestration import dagster_home

        self.workspace = workspace
        self.stack = stack
        self.assets = {
            stage: getattr(drop_assets if stage in BY_DROP else corpus_assets, stage)
            for stage in (*BY_DROP, *GLOBAL)
        }
        self.checks = checks.CHECKS
        self.alive = {dagster_home.ALIVE: stack.enter_context(dagster_home.alive(workspace))}
        self.instance: dg.DagsterInstance = stack.enter_context(dagster_home.instance(workspace))
        dagster_home.bury(workspace, self.instance)
        dagster_home.register(workspace, self.instance)

    def make(self, stage: str, drop: str | None) -> None:
        """Raises what the pipeline raised, or InvariantError where a check failed."""
        import dagster as dg

        if STAGES[stage].needs_ray:
            from embedders.pool.ray_cluster import cluster

            self.stack.enter_context(cluster(self.workspace.config.engine.ray.address))
        try:
            dg.materialize(
                [*self.assets.values(), *self.checks],
                selection=dg.AssetSelection.assets(stage),
                partition_key=drop,
                instance=self.instance,
                resources={"corpus": self.workspace},
                run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
                tags=self.alive,
            )
        except dg.DagsterError:
            if not (broken := self._broken_promises()):
                raise
            where = f"{stage} of drop {drop!r}" if drop else stage
            raise InvariantError(f"{where} broke a promise of its table: {broken}") from None
        except dg.DagsterExecutionInterruptedError:
            raise KeyboardInterrupt from None

    def _broken_promises(self) -> str:
        import dagster as dg

        (run,) = self.instance.get_runs(limit=1)
        kind = dg.DagsterEventType.ASSET_CHECK_EVALUATION
        events = self.instance.all_logs(run.run_id, of_type=kind)
        checks = [e.get_dagster_event().asset_check_evaluation_data for e in events]
        return "; ".join(f"{c.check_name}: {c.description}" for c in checks if not c.passed)


def _stages(select: str | Iterable[str] | None) -> list[str]:
    known = [*BY_DROP, *GLOBAL]
    wanted = known if select is None else [select] if isinstance(select, str) else list(select)
    if unknown := [s for s in wanted if s not in known]:
        raise InputError(f"{unknown[0]!r} is not a stage; stages are {', '.join(known)}")
    return wanted


def _counts(workspace: Workspace, stage: str, drop: str | None) -> Counts:
    found = record(workspace.tables, stage, drop or EVERY_DROP) or {}
    return Counts(*(found.get(n, 0) for n in ("input", "kept", "rejected", "failed")))
