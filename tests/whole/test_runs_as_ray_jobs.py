"""Runs of a deployed Dagster as jobs of a Ray cluster, by the launcher of docs/operations.md.

Needs `ray[default]`, without which a head takes no jobs.
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from orchestration.runner import run_missing
from store.tables.staging import stage_record
from store.workspace import Workspace
from tests.helpers.corpus import CONFIG, deliver, write_config
from tests.helpers.deployment import Deployment, deployed, documented_launcher, wait_until
from tests.helpers.ray_nodes import Nodes, ray_nodes
from tests.helpers.stages import outputs

pytest.importorskip("ray.dashboard.optional_deps", exc_type=ImportError)
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]
STAGES = ["samples", "signals", "vectors"]
DATABASE = ("HOST", "PORT", "DB", "USER", "PASSWORD")
SLOW = CONFIG.replace("tests.helpers.corpus:ColourImage", "tests.helpers.corpus:SlowImage")


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    """A head that takes jobs, and two nodes that do the work."""
    # The command of a job is `dagster`, which an image has on its path.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", path)
        with ray_nodes(dashboard=True) as started:
            started.worker()
            started.worker()
            started.wait_for_cpus(4)
            yield started


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    root = tmp_path_factory.mktemp("jobs")
    write_config(root, SLOW + "engine: {signals: ray}\n")
    deliver(root / "drops" / "first", 60)
    return Workspace.open(root)


@pytest.fixture(scope="module")
def deployment(
    corpus: Workspace, nodes: Nodes, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    launcher = documented_launcher()
    ray = launcher["config"]["ray"]
    ray["address"] = f"http://127.0.0.1:{nodes.dashboard}"
    # Pods of the cluster have these variables; nodes that were started before the database do not.
    ray["env_vars"] += [f"DAGSTER_POSTGRES_{name}" for name in DATABASE]
    settings = yaml.safe_dump({"run_launcher": launcher})
    with deployed(
        corpus.root,
        tmp_path_factory.mktemp("deployment"),
        settings,
        **nodes.variables,
        ISOTROPE_CORPUS=str(corpus.root),
    ) as running:
        yield running


def test_a_job_makes_what_the_command_line_makes(
    corpus: Workspace, deployment: Deployment, tmp_path: Path
) -> None:
    assert deployment.wait(deployment.launch(STAGES, "first")) == "SUCCESS"
    names = ["pairs", "duplicates", "decisions", "banks", "gallery", "index", "release"]
    assert deployment.wait(deployment.launch(names)) == "SUCCESS"
    write_config(tmp_path)  # the same encoders, less slow
    deliver(tmp_path / "drops" / "first", 60)
    other = Workspace.open(tmp_path)
    run_missing(other)
    assert outputs(corpus) == outputs(other)


def test_a_job_that_is_cancelled_from_the_page_resumes(
    corpus: Workspace, deployment: Deployment, nodes: Nodes
) -> None:
    deliver(corpus.root / "drops" / "cancelled", 600, first=100)
    assert deployment.add_drop("cancelled") == "AddDynamicPartitionSuccess"
    run = deployment.launch(STAGES, "cancelled")
    staging = Path(corpus.tables.root, "_staging")
    wait_until(lambda: len(list(staging.glob("vectors-*/*/units/*.jsonl"))) >= 2)
    deployment.terminate(run)
    assert deployment.wait(run, seconds=60) == "CANCELED"
    wait_until(lambda: not nodes.actors(), 60)
    assert stage_record(corpus.tables, "vectors", "cancelled") is None

    assert deployment.wait(deployment.launch(STAGES, "cancelled")) == "SUCCESS"
    record = stage_record(corpus.tables, "vectors", "cancelled")
    assert record is not None
    assert record["resumed"] >= 2
    assert record["kept"] == 1200
