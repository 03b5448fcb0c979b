"""Dagster assets of the stages: skip a table that is up to date, else make it; report on it."""

import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from pkgutil import resolve_name
from typing import Any

import dagster as dg
from dagster._core.definitions.data_version import DATA_VERSION_TAG

from assets.metadata.markdown import summary
from assets.metadata.usage import measured
from assets.retries import is_transient, retry
from pipelines.sources.drops import Drop
from pipelines.stages import staleness
from pipelines.stages.context import StageContext
from pipelines.stages.snapshot import Snapshot
from store.errors import NotFoundError
from store.tables import checksums, maintain
from store.tables.lost_tables import check_none_lost
from store.tables.stages import STAGES, Stage, name_in_space
from store.tables.staging import stage_lock, stage_record
from store.workspace import Workspace

# Run tag: make tables again although they are up to date. "true" means all tables of the run; a
# comma-separated list names some. Later stages run only if the output of an earlier one changes.
FORCE = "isotrope/force"
# Run tag of the command line: name of the lock that the run's process holds while it lives.
ALIVE = "isotrope/alive"
# Checks of a drop have its partition.
warnings.filterwarnings("ignore", category=dg.PreviewWarning, message=".*partitions_def")
DROPS = dg.DynamicPartitionsDefinition(name="drop")
# Groups of the assets that all spaces share. Those of a space have a group of its name.
DROP_GROUP, CORPUS_GROUP = "by_drop", "corpus"
MAIN_GROUP = "main_space"  # until the name of the main space is known from corpus.yaml
# Asset tags, by which jobs select: the name of the stage, and what it is made of.
STAGE, MADE = "isotrope/stage", "isotrope/made"
OF_DROP, OF_CORPUS = "by_drop", "from_all_drops"
# Dagster's pools, whose limits are those of `engine.pools`. All stages over all drops share one.
CPU_POOL, GPU_POOL, CORPUS_POOL = "cpu", "gpu", "corpus"


def stage_asset(
    name: str,
    description: str,
    build: str,
    show: Callable[..., Mapping[str, Any]],
    space: str | None = None,
) -> dg.AssetsDefinition:
    """The asset of a stage. Dependencies, partitions and kinds are those of `STAGES`.

    Args:
        name: of the stage.
        description: what Dagster's page says about the table.
        build: the stage's function as `module:function`. It is imported when it runs, since
            Beam, Ray and models would slow down every page load.
        show: reads the table and returns metadata for the page. Called with the corpus, and with
            the drop's name where the stage is made by drop.
        space: the asset is of this space. None: of the main space, or shared by all.
    """
    stage = STAGES[name]

    @dg.asset(
        key=name_in_space(name, space),
        description=description,
        deps=_inputs(stage, space),
        partitions_def=DROPS if stage.by_drop else None,
        group_name=_group(stage, space),
        tags={STAGE: name, MADE: OF_DROP if stage.by_drop else OF_CORPUS},
        kinds={*stage.engines, "lance"},
        code_version=str(stage.version),
        pool=_pool(stage),
    )
    def table(
        context: dg.AssetExecutionContext, corpus: dg.ResourceParam[Workspace]
    ) -> dg.MaterializeResult:
        return _materialise(context, corpus.of_space(space), stage, resolve_name(build), show)

    return table


def _inputs(stage: Stage, space: str | None) -> list[str]:
    """The assets that come first. Decisions come before the pairs of other spaces than the main
    one: with `only_for`, they choose what has vectors."""
    inputs = [name_in_space(each, space) for each in stage.inputs]
    return [*inputs, "decisions"] if stage.name == "pairs" and space is not None else inputs


def _group(stage: Stage, space: str | None) -> str:
    if stage.by_space:
        return MAIN_GROUP if space is None else group_of_space(space)
    return DROP_GROUP if stage.by_drop else CORPUS_GROUP


def group_of_space(space: str) -> str:
    """The group of a space's assets. Dagster allows letters, digits and underscores."""
    return re.sub(r"\W", "_", space, flags=re.ASCII)


def _pool(stage: Stage) -> str:
    if not stage.by_drop:
        return CORPUS_POOL
    return GPU_POOL if stage.needs_ray else CPU_POOL


def _materialise(
    run: dg.AssetExecutionContext,
    corpus: Workspace,
    stage: Stage,
    build: Callable[[StageContext], object],
    show: Callable[..., Mapping[str, Any]],
) -> dg.MaterializeResult:
    """Bring a stage's table up to date.

    Raises:
        IsotropeError: the pipeline could not make the table, which stays as it was.
        RetryRequested: likewise, but Dagster tries again, because the error may pass by itself.
    """
    # A run of drop and corpus together has a partition key in the corpus's steps too.
    name = run.partition_key if stage.by_drop else None
    # Only `samples` reads the drop's files; the other stages read tables.
    drop = delivered(corpus, name) if name is not None and stage.name == "samples" else name
    context = StageContext(corpus, drop, _is_forced(run, stage.name))
    try:
        with measured() as usage:
            if ALIVE not in run.run.tags:  # the command line makes them in order
                _embed_chosen(run, context, stage)
            written = _make(context, stage, build)
    except Exception as error:
        # The command line reports an error at once.
        if ALIVE in run.run.tags or not is_transient(error):
            raise
        run.log.warning(f"{stage.name} is tried again: {error}")
        raise retry(run.retry_number) from error
    done = stage_record(corpus.tables, context.name_of(stage.name), context.drop_name)
    if done is None:
        raise NotFoundError(f"{stage.name} was made, but another run has begun to make it again")
    run.log.info(
        f"{stage.name}: {done['input']} in, {done['kept']} kept, {done['rejected']} rejected,"
        f" {done['failed']} failed" + ("; it was up to date" if written is None else "")
    )
    shown = show(corpus) if name is None else show(corpus, name)
    used: dict[str, float] = {}
    if written is not None:
        used = {**usage.metadata(done, corpus.config.engine.prices), "bytes_written": written}
    return dg.MaterializeResult(
        metadata={**shown, "up_to_date": written is None, **summary(done), **used},
        data_version=dg.DataVersion(done["output"]),
    )


def _embed_chosen(run: dg.AssetExecutionContext, context: StageContext, stage: Stage) -> None:
    """Make the vectors that a space with `only_for` lacks since the decisions chose more samples.

    A run of a drop makes its vectors before the decisions see the drop.
    """
    corpus, vectors = context.workspace, STAGES["vectors"]
    main = corpus.main
    if main is None or stage.by_drop or vectors.name not in stage.reads:
        return
    if main.config.only_for(corpus.config.space) is None:
        return
    name, snapshot = context.name_of(vectors.name), Snapshot(corpus)
    for drop in staleness.drops_with_samples(corpus):
        of_drop = StageContext(corpus, drop, snapshot=snapshot)
        if _make(of_drop, vectors, resolve_name("pipelines.vectors.stage:embed")) is None:
            continue
        if done := stage_record(corpus.tables, name, drop):
            run.log.info(f"{name} of {drop}: {done['kept']} of {done['input']} parts have vectors")
            tags = {DATA_VERSION_TAG: done["output"]}
            run.log_event(
                dg.AssetMaterialization(name, metadata=summary(done), partition=drop, tags=tags)
            )


def _make(
    context: StageContext, stage: Stage, build: Callable[[StageContext], object]
) -> int | None:
    """Make a stage's tables, unless they are up to date.

    Returns:
        The bytes of the new files of its tables; None: they were up to date.
    """

    tables, drop = context.tables, context.drop_name
    name = context.name_of(stage.name)
    before = stage_record(tables, name, drop) if context.forced else None
    if not (context.forced or stage.name in staleness.stale_stages(context)):
        check_none_lost(tables, stage.name)
        return None
    with tables.lock(stage_lock(name, drop)):
        # Another run may have made the table while this one waited for the lock.
        context = replace(context, snapshot=Snapshot(context.workspace))
        is_forced = context.forced and stage_record(tables, name, drop) == before
        if not (is_forced or stage.name in staleness.stale_stages(context)):
            return None
        build(context)
        written = _record_checksums(context.workspace, stage.name)
    maintain.compact_records(tables)
    return written


def _record_checksums(corpus: Workspace, stage: str) -> int:
    """Record checksums of the new files of a stage's tables; after a release, of all tables.

    Returns:
        The bytes of these files.
    """
    names = corpus.tables.names(None if stage == "release" else stage)
    return sum(checksums.record(corpus.tables, name) for name in names)


def _is_forced(run: dg.AssetExecutionContext, stage: str) -> bool:
    names = run.run.tags.get(FORCE, "")
    return names == "true" or stage in names.split(",")


def delivered(corpus: Workspace, name: str) -> Drop:
    """A drop by its name.

    Raises:
        NotFoundError: no source delivers it.
    """
    if drop := staleness.drops(corpus, only=name).get(name):
        return drop
    names = ", ".join(staleness.drops(corpus))
    raise NotFoundError(
        f"no source of corpus.yaml delivers a drop {name!r}; delivered are: {names}"
    )
