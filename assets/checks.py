"""Dagster's checks of the tables. All are blocking, except those that only warn.

The pipelines verify the same before they publish. A check fails if a pipeline missed something, or
if a table was changed by hand. The stage then counts as missing, and the next run makes it again.
"""

import inspect
from collections.abc import Callable, Collection, Iterable

import dagster as dg

from assets import corpus_assets, drop_assets, table_checks
from assets.health_checks import HEALTH_CHECKS
from assets.materialise import DROPS
from assets.space_health import space_health_checks
from assets.spaces import MAIN, space_assets
from assets.table_checks import Result
from store.tables.stage_records import forget_records, of_stage
from store.tables.stages import EVERY_DROP
from store.tables.staging import stage_record
from store.workspace import Workspace


def _asset_check(
    asset: dg.AssetsDefinition,
    run: Callable[[Workspace, str], Result],
    space: str | None = None,
) -> dg.AssetChecksDefinition:
    """A check of an asset, in a space; its name and description are the function's."""
    partitioned = asset.partitions_def is not None
    description = inspect.getdoc(run)

    @dg.asset_check(
        asset=asset,
        name=run.__name__,
        description=description,
        blocking=True,
        partitions_def=DROPS if partitioned else None,
    )
    def check(
        context: dg.AssetCheckExecutionContext, corpus: dg.ResourceParam[Workspace]
    ) -> dg.AssetCheckResult:
        drop = context.partition_key if partitioned else EVERY_DROP
        stage = asset.key.to_user_string()
        if stage_record(corpus.tables, stage, drop) is None:
            reason = "the stage is missing: it failed another check, or is being made again"
            return dg.AssetCheckResult(passed=False, description=reason)
        measured, problems = run(corpus.of_space(space), drop)
        if problems:
            forget_records(corpus.tables, of_stage(stage, drop))  # the next run makes it again
        return dg.AssetCheckResult(
            passed=not problems,
            description="; ".join(problems) or description,
            metadata=measured,
        )

    return check


_OF_SPACES = {
    "vectors": table_checks.vectors_sound,
    "pairs": table_checks.pairs_sound,
    "gallery": table_checks.gallery_sound,
    "release": table_checks.release_does_no_harm,
}


def _space_checks(space: str | None) -> list[dg.AssetChecksDefinition]:
    assets = MAIN if space is None else space_assets(space)
    guards = [_asset_check(assets[stage], run, space) for stage, run in _OF_SPACES.items()]
    return [*guards, *space_health_checks(assets, space)]


_SHARED = [
    _asset_check(drop_assets.samples, table_checks.samples_conserved),
    _asset_check(drop_assets.samples, table_checks.samples_unique),
    _asset_check(drop_assets.signals, table_checks.signals_conserved),
    _asset_check(corpus_assets.duplicates, table_checks.duplicates_sound),
    _asset_check(corpus_assets.decisions, table_checks.decisions_conserved),
    *HEALTH_CHECKS,
]


def all_checks(others: Iterable[str]) -> list[dg.AssetChecksDefinition]:
    """The checks of a corpus.

    Args:
        others: the names of its spaces beside the main one.
    """
    return [*_SHARED, *(check for space in (None, *others) for check in _space_checks(space))]


def named(
    checks: Iterable[dg.AssetChecksDefinition], names: Collection[str]
) -> list[dg.AssetChecksDefinition]:
    """Those of the checks that have one of these names, in every space."""
    return [c for c in checks if {key.name for key in c.check_keys} & set(names)]
