"""What many tests share: one corpus, made once by the real engines."""

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from hypothesis import settings

from embedders.cluster import cluster
from store.workspace import Workspace
from tests.corpus_for_tests import begin, deliver

ROOT = Path(__file__).resolve().parent.parent
settings.register_profile("isotrope", deadline=None)  # tests are not timed
settings.load_profile("isotrope")
os.environ["COLUMNS"] = "200"  # tables are read by tests, not by people on narrow terminals
os.environ["PYTHONPATH"] = f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"


def make(workspace: Workspace) -> None:
    """Run what is stale, without Dagster."""
    from pipelines import banks, decisions, duplicates, embed, gallery, pairs, plan, release

    _by_drop(workspace, vectors=embed.embed)
    whole = {
        "pairs": pairs.measure_pairs,
        "duplicates": duplicates.find_duplicates,
        "decisions": decisions.decide,
        "banks": partial(banks.draw_banks, hold=True),
        "gallery": gallery.build_gallery,
        "release": release.make_release,
    }
    for stage in plan.stale(workspace, None):
        whole[stage](workspace)


def curate(root: Path) -> Workspace:
    """Run what is stale up to the decisions, and these in any case: no model runs."""
    from pipelines import decisions, duplicates

    workspace = Workspace.open(root)
    _by_drop(workspace)
    duplicates.find_duplicates(workspace)
    decisions.decide(workspace)
    return workspace


def _by_drop(workspace: Workspace, **more: Callable[[Workspace, str], object]) -> None:
    from pipelines import ingest, plan, signals

    for name, drop in plan.drops(workspace).items():
        stages = plan.stale(workspace, drop)
        if "samples" in stages:
            ingest.ingest(workspace, drop)
        for stage, make_stage in {"signals": signals.measure, **more}.items():
            if stage in stages:
                make_stage(workspace, name)


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    with cluster():
        yield


@pytest.fixture(scope="session")
def squares(tmp_path_factory: pytest.TempPathFactory, ray_cluster: None) -> Workspace:
    """Two drops of coloured squares, made up to a release. Not to be changed."""
    root = tmp_path_factory.mktemp("squares")
    begin(root)
    deliver(root / "drops" / "first", 500, languages=True)
    deliver(root / "drops" / "second", 120, first=480)
    (root / "drops" / "first" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n cut")
    (root / "drops" / "first" / "broken.txt").write_text("a red square that is cut")
    workspace = Workspace.open(root)
    make(workspace)
    return workspace
