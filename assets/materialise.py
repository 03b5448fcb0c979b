"""What every asset does: nothing where its table is up to date, else its pipeline; then report."""

from collections.abc import Callable, Mapping
from typing import Any

import dagster as dg

from assets.metadata.markdown import summary
from pipelines.sources.drops import Drop
from pipelines.stages import staleness
from store.errors import NotFoundError
from store.tables.stages import BY_DROP, EVERY_DROP
from store.tables.staging import record
from store.workspace import Workspace

# A run with this tag makes tables again, up to date or not: all of them, where it is "true", or
# those it names, with commas between; what comes after these is made where they came out new.
FORCE = "isotrope/force"
Shown = Mapping[str, Any]


def step(
    context: dg.AssetExecutionContext,
    corpus: Workspace,
    stage: str,
    make: Callable[[], Any],
    show: Callable[[], Shown],
) -> dg.MaterializeResult:
    """Bring a stage's table up to date and report what is in it.

    Args:
        make: runs the pipeline.
        show: reads the table for what is worth seeing: metadata by name.

    Raises:
        IsotropeError: the pipeline could not make the table, which stays as it was.
    """
    # A run that makes drops and corpus together has a partition in the corpus's steps too.
    drop = context.partition_key if stage in BY_DROP else None
    needed = forced(context, stage) or stage in stale(corpus, stage, drop)
    if needed:
        make()
    done = record(corpus.tables, stage, drop or EVERY_DROP)
    if done is None:
        raise NotFoundError(f"{stage} was made, but another run has begun to make it again")
    context.log.info(
        f"{stage}: {done['input']} in, {done['kept']} kept, {done['rejected']} rejected,"
        f" {done['failed']} failed" + ("" if needed else "; it was up to date")
    )
    return dg.MaterializeResult(
        metadata={**show(), "up_to_date": not needed, **summary(done)},
        data_version=dg.DataVersion(done["output"]),
    )


def forced(context: dg.AssetExecutionContext, stage: str) -> bool:
    """Whether the run makes this stage's table again, up to date or not."""
    stages = context.run.tags.get(FORCE, "")
    return stages == "true" or stage in stages.split(",")


def stale(corpus: Workspace, stage: str, drop: str | None) -> list[str]:
    """The stages that are out of date, of the drop's or of the corpus's own.

    Only `samples` looks at the drop's files: the others work on what is in the tables.
    """
    if drop is not None and stage == "samples":
        return staleness.stale(corpus, delivered(corpus, drop))
    return staleness.stale(corpus, drop)


def delivered(corpus: Workspace, name: str) -> Drop:
    """A drop by its name.

    Raises:
        NotFoundError: no source delivers it.
    """
    drops = staleness.drops(corpus)
    if name not in drops:
        raise NotFoundError(
            f"no source of corpus.yaml delivers a drop {name!r}; delivered are: {', '.join(drops)}"
        )
    return drops[name]


DROPS = dg.DynamicPartitionsDefinition(name="drop")
