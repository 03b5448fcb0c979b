"""Runs the stages of a test corpus without Dagster."""

from pathlib import Path
from pkgutil import resolve_name

from pipelines.stages import staleness
from pipelines.stages.context import StageContext
from store.workspace import Workspace

_BUILD = {
    "samples": "ingest",
    "signals": "measure",
    "vectors": "embed",
    "pairs": "measure_pairs",
    "duplicates": "find_duplicates",
    "decisions": "decide",
    "banks": "draw_banks",
    "gallery": "build_gallery",
    "index": "index_galleries",
    "release": "make_release",
}


def build(stage: str, context: StageContext) -> None:
    """Make the table of a stage, whether it is up to date or not."""
    resolve_name(f"pipelines.{stage}.stage:{_BUILD[stage]}")(context)


def make_stale_stages(workspace: Workspace) -> None:
    """Run the stages that are out of date."""
    _by_drop(workspace, ("samples", "signals", "vectors"))
    for stage in staleness.stale(workspace, None):
        build(stage, StageContext(workspace))


def curate(root: Path) -> Workspace:
    """Run samples and signals where they are out of date, then always duplicates and decisions.

    No encoder runs.
    """
    workspace = Workspace.open(root)
    _by_drop(workspace, ("samples", "signals"))
    for stage in ("duplicates", "decisions"):
        build(stage, StageContext(workspace))
    return workspace


def outputs(workspace: Workspace) -> dict[tuple[str, str], str]:
    """The digest of what each stage made, by stage and drop."""
    rows = workspace.tables.open("stages").to_table(["stage", "drop", "output"]).to_pylist()
    return {(row["stage"], row["drop"]): row["output"] for row in rows}


def _by_drop(workspace: Workspace, stages: tuple[str, ...]) -> None:
    for drop in staleness.drops(workspace).values():
        stale = staleness.stale(workspace, drop)
        for stage in stages:
            if stage in stale:
                build(stage, StageContext(workspace, drop))
