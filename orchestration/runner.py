"""Makes the tables that are missing or out of date, in this process: `isotrope run`.

Runs are recorded in the corpus's Dagster home. Dagster, Ray and Beam are imported only if there is
something to do.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipelines.sources.drops import Drop
from pipelines.stages import staleness
from pipelines.stages.snapshot import Snapshot
from store.errors import InputError, InvariantError
from store.tables import migrations, takedowns
from store.tables.lost_tables import check_none_lost
from store.tables.stages import BY_DROP, EVERY_DROP, GLOBAL, stage_of
from store.tables.staging import Counts, stage_record
from store.workspace import Workspace

if TYPE_CHECKING:
    import dagster as dg


@dataclass(frozen=True)
class Step:
    """A stage that was made.

    Attributes:
        stage: its name, as `Workspace.name_of` gives it.
        drop: the drop that it was made of; None for a global stage.
        counts: of its record.
        seconds: wall-clock time.
    """

    stage: str
    drop: str | None
    counts: Counts
    seconds: float


def prepare(workspace: Workspace) -> dict[str, Drop]:
    """Finish an interrupted takedown, migrate the tables, and list the delivered drops.

    Raises:
        SourceError: a source is missing or empty.
        DamagedTableError: a table is lost, or cannot be opened.
    """
    if workspace.tables.files.exists(takedowns.PLAN):
        from pipelines.takedown.takedown import resume

        resume(workspace)
    check_none_lost(workspace.tables)
    migrations.migrate_all(workspace.tables)
    return staleness.drops(workspace)


def run_missing(
    workspace: Workspace,
    drop: str | None = None,
    select: str | Iterable[str] | None = None,
    on_step: Callable[[str, str | None], None] = lambda stage, drop: None,
    delivered: dict[str, Drop] | None = None,
) -> list[Step]:
    """Make the stages that are missing or out of date.

    Args:
        workspace: the corpus.
        drop: restricts the stages by drop to this drop; the global stages are made too.
        select: restricts the stages to this one, or to these. A name stands for the stage in all
            spaces; with the name of another space than the main one, as in `vectors__clip`, for
            that of this space.
        on_step: called with stage and drop (None for a global stage) before a stage is made.
        delivered: what `prepare` returned. None: it is called.

    Returns:
        The stages that were made, in order.

    Raises:
        InputError: there is no such drop or stage.
        InvariantError: a check of a table failed; the stages after it were not made.
        DamagedTableError: a table cannot be opened.
        IsotropeError: a pipeline failed; its table is unchanged.
    """
    drops = prepare(workspace) if delivered is None else delivered
    if drop is not None and drop not in drops:
        raise InputError(f"no source delivers a drop {drop!r}; delivered: {', '.join(drops)}")
    chosen = drops if drop is None else {drop: drops[drop]}
    steps: list[Step] = []
    with ExitStack() as stack:
        runner: _Runner | None = None
        for stage, name in _missing(workspace, chosen, _stages(workspace, select)):
            runner = runner or _Runner(workspace, stack)
            on_step(stage, name)
            started = time.monotonic()
            runner.make(stage, name)
            counts = _counts(workspace, stage, name)
            steps.append(Step(stage, name, counts, time.monotonic() - started))
    return steps


def _missing(
    workspace: Workspace, drops: Mapping[str, Drop], selected: list[str]
) -> Iterator[tuple[str, str | None]]:
    """(stage, drop) in order. The caller must make each before it takes the next.

    The main space is complete before the stages of another one begin.
    """
    snapshot = Snapshot(workspace)
    for space in workspace.spaces():
        for name, drop in (*drops.items(), (None, None)):
            stale = staleness.stale(space, drop, snapshot)
            for stage in GLOBAL if drop is None else BY_DROP:
                if stage in stale and {stage, space.name_of(stage)} & set(selected):
                    yield space.name_of(stage), name
                    # If its output is the same as before, the stages after it are up to date.
                    snapshot.records.refresh(workspace.tables, name or EVERY_DROP)
                    stale = staleness.stale(space, drop, snapshot)


class _Runner:
    """Dagster in this process. A Ray cluster that a stage starts stays for the later ones."""

    def __init__(self, workspace: Workspace, stack: ExitStack):
        from assets.checks import all_checks
        from assets.materialise import ALIVE
        from assets.spaces import all_assets
        from orchestration import dagster_home

        self.workspace = workspace
        self.stack = stack
        self.keeps_cluster = False
        others = workspace.config.other_spaces
        self.assets = all_assets(others)
        self.checks = all_checks(others)
        self.alive = {ALIVE: stack.enter_context(dagster_home.alive(workspace))}
        self.instance: dg.DagsterInstance = stack.enter_context(dagster_home.instance(workspace))
        dagster_home.fail_dead_runs(workspace, self.instance)
        dagster_home.add_partitions(workspace, self.instance)

    def make(self, stage: str, drop: str | None) -> None:
        """Make one stage.

        Raises:
            InvariantError: a check failed.
            IsotropeError: the pipeline raised it.
        """
        import dagster as dg

        from orchestration import json_logs

        if "ray" in stage_of(stage).engines and not self.keeps_cluster:
            from embedders.pool.ray_cluster import kept_cluster

            self.stack.enter_context(kept_cluster())
            self.keeps_cluster = True
        try:
            level = "INFO" if json_logs.is_configured() else "CRITICAL"
            dg.materialize(
                [*self.assets, *self.checks],
                selection=dg.AssetSelection.assets(stage),
                partition_key=drop,
                instance=self.instance,
                resources={"corpus": self.workspace},
                run_config={"loggers": {"console": {"config": {"log_level": level}}}},
                tags=self.alive,
            )
        except dg.DagsterError:
            if not (problems := self._failed_checks()):
                raise
            name = f"{stage} of drop {drop!r}" if drop else stage
            raise InvariantError(f"a check of {name} failed: {problems}") from None
        except dg.DagsterExecutionInterruptedError:
            raise KeyboardInterrupt from None

    def _failed_checks(self) -> str:
        import dagster as dg

        (run,) = self.instance.get_runs(limit=1)
        kind = dg.DagsterEventType.ASSET_CHECK_EVALUATION
        events = self.instance.all_logs(run.run_id, of_type=kind)
        checks = [e.get_dagster_event().asset_check_evaluation_data for e in events]
        return "; ".join(f"{c.check_name}: {c.description}" for c in checks if not c.passed)


def _stages(workspace: Workspace, select: str | Iterable[str] | None) -> list[str]:
    stages = [*BY_DROP, *GLOBAL]
    names = dict.fromkeys(space.name_of(stage) for space in workspace.spaces() for stage in stages)
    selected = stages if select is None else [select] if isinstance(select, str) else list(select)
    if unknown := [stage for stage in selected if stage not in names]:
        raise InputError(f"{unknown[0]!r} is not a stage; stages are {', '.join(names)}")
    return selected


def _counts(workspace: Workspace, stage: str, drop: str | None) -> Counts:
    done = stage_record(workspace.tables, stage, drop or EVERY_DROP) or {}
    return Counts(*(done.get(n, 0) for n in ("input", "kept", "rejected", "failed")))
