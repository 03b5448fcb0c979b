"""The newest run of each stage of each drop, as the explorer shows them."""

import pyarrow.compute as pc

from pipelines.reports.curation.answers import StageRun
from store.tables import schema
from store.tables.stages import EVERY_DROP
from store.workspace import Workspace

MOST = 40


def stage_runs(workspace: Workspace) -> list[StageRun]:
    """The newest runs, at most `MOST`: those with failures first, then the newest."""
    names = ["stage", "drop", "published_at", "seconds", "input", "kept", "rejected", "failed"]
    rows = workspace.tables.scan("stages", schema.STAGES, names)
    rows = rows.append_column("has_failed", pc.greater(rows["failed"], 0))
    rows = rows.sort_by([("has_failed", "descending"), ("published_at", "descending")])
    return [
        StageRun(
            row["stage"],
            None if row["drop"] == EVERY_DROP else row["drop"],
            row["published_at"].isoformat(timespec="seconds"),
            row["seconds"],
            row["input"],
            row["kept"],
            row["rejected"],
            row["failed"],
        )
        for row in rows.slice(0, MOST).to_pylist()
    ]
