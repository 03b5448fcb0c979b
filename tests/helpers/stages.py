"""Run the stages of a test corpus without Dagster."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from store.workspace import Workspace


def make(workspace: Workspace) -> None:
    """Run what is stale, without Dagster."""
    from pipelines.banks.stage import draw_banks
    from pipelines.decisions.stage import decide
    from pipelines.duplicates.stage import find_duplicates
    from pipelines.gallery.stage import build_gallery
    from pipelines.pairs.stage import measure_pairs
    from pipelines.release.stage import make_release
    from pipelines.stages import staleness
    from pipelines.vectors.stage import embed

    _by_drop(workspace, vectors=embed)
    whole = {
        "pairs": measure_pairs,
        "duplicates": find_duplicates,
        "decisions": decide,
        "banks": partial(draw_banks, hold=True),
        "gallery": build_gallery,
        "release": make_release,
    }
    for stage in staleness.stale(workspace, None):
        whole[stage](workspace)


def curate(root: Path) -> Workspace:
    """Run what is stale up to the decisions, and these in any case: no model runs."""
    from pipelines.decisions.stage import decide
    from pipelines.duplicates.stage import find_duplicates

    workspace = Workspace.open(root)
    _by_drop(workspace)
    find_duplicates(workspace)
    decide(workspace)
    return workspace


def _by_drop(workspace: Workspace, **more: Callable[[Workspace, str], object]) -> None:
    from pipelines.samples.stage import ingest
    from pipelines.signals.stage import measure
    from pipelines.stages import staleness

    for name, drop in staleness.drops(workspace).items():
        stages = staleness.stale(workspace, drop)
        if "samples" in stages:
            ingest(workspace, drop)
        for stage, make_stage in {"signals": measure, **more}.items():
            if stage in stages:
                make_stage(workspace, name)
