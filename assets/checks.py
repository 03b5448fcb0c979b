"""Dagster's checks of the tables. All are blocking, except `no_drift` and those that only warn.

The pipelines verify the same before they publish. A check fails if a pipeline missed something, or
if a table was changed by hand. The stage then counts as missing, and the next run makes it again.
"""

import inspect
from collections.abc import Callable

import dagster as dg

from assets import corpus_assets, drop_assets, table_checks
from assets.drift_check import no_drift
from assets.health_checks import HEALTH_CHECKS
from assets.materialise import DROPS
from assets.table_checks import Result
from store.tables.stage_records import forget_records, of_stage
from store.tables.stages import EVERY_DROP
from store.tables.staging import stage_record
from store.workspace import Workspace


def _asset_check(
    asset: dg.AssetsDefinition, run: Callable[[Workspace, str], Result]
) -> dg.AssetChecksDefinition:
    """A check of an asset; its name and description are the function's."""
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
        measured, problems = run(corpus, drop)
        if problems:
            forget_records(corpus.tables, of_stage(stage, drop))  # the next run makes it again
        return dg.AssetCheckResult(
            passed=not problems,
            description="; ".join(problems) or description,
            metadata=measured,
        )

    return check


CHECKS = [
    _asset_check(drop_assets.samples, table_checks.samples_conserved),
    _asset_check(drop_assets.samples, table_checks.samples_unique),
    _asset_check(drop_assets.signals, table_checks.signals_conserved),
    _asset_check(drop_assets.vectors, table_checks.vectors_sound),
    _asset_check(corpus_assets.pairs, table_checks.pairs_sound),
    _asset_check(corpus_assets.duplicates, table_checks.duplicates_sound),
    _asset_check(corpus_assets.decisions, table_checks.decisions_conserved),
    _asset_check(corpus_assets.gallery, table_checks.gallery_sound),
    _asset_check(corpus_assets.release, table_checks.release_does_no_harm),
    no_drift,
    *HEALTH_CHECKS,
]
