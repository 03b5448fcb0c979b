"""Reports tables to Dagster that its log does not have.

The log may have been deleted, or the corpus may be a copy. What the log has is read with one query
a stage, because there may be thousands of drops.
"""

from collections.abc import Mapping

import dagster as dg
from dagster._core.definitions.data_version import DATA_VERSION_TAG
from rich.console import Console
from rich.progress import track

from assets.metadata.markdown import summary
from store.tables import schema
from store.tables.stages import EVERY_DROP, STAGES, stage_of
from store.workspace import Workspace

_SHOWN_FROM = 200  # events from which progress is shown; Dagster writes about 100 a second


def report_tables(workspace: Workspace, opened: dg.DagsterInstance) -> int:
    """Report the tables that are not in the log; returns the number of stages of drops."""
    names = {space.name_of(stage) for space in workspace.spaces() for stage in STAGES}
    logged = {name: _logged_outputs(opened, name) for name in names}
    records = workspace.tables.scan("stages", schema.STAGES).to_pylist()
    missing = [
        r
        for r in records
        if r["stage"] in logged and logged[r["stage"]].get(r["drop"]) != r["output"]
    ]
    for record in track(
        missing,
        "Reporting tables to Dagster",
        console=Console(stderr=True),
        transient=True,
        disable=len(missing) < _SHOWN_FROM,
    ):
        opened.report_runless_asset_event(
            dg.AssetMaterialization(
                record["stage"],
                metadata={"up_to_date": True, **summary(record)},
                partition=None if record["drop"] == EVERY_DROP else record["drop"],
                tags={DATA_VERSION_TAG: record["output"]},
            )
        )
    return len(missing)


def _logged_outputs(opened: dg.DagsterInstance, stage: str) -> Mapping[str, str | None]:
    """The output of the last materialisation of a stage, by drop."""
    key = dg.AssetKey(stage)
    if stage_of(stage).by_drop:
        tags = opened.event_log_storage.get_latest_tags_by_partition(
            key, dg.DagsterEventType.ASSET_MATERIALIZATION, [DATA_VERSION_TAG]
        )
        return {drop: of_drop.get(DATA_VERSION_TAG) for drop, of_drop in tags.items()}
    records = opened.fetch_materializations(key, limit=1).records
    last = records[0].asset_materialization if records else None
    return {EVERY_DROP: (last.tags or {}).get(DATA_VERSION_TAG)} if last else {}
