"""A deployed Dagster on PostgreSQL, as infra/compose starts it: page, daemon, code location."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestration.runner import run_missing
from pipelines.stages import staleness
from store.tables.staging import stage_record
from store.workspace import Workspace
from tests.helpers.corpus import CONFIG, deliver, write_config
from tests.helpers.deployment import Deployment, deployed, wait_until
from tests.helpers.stages import outputs

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]
SLOW = CONFIG.replace("tests.helpers.corpus:ColourImage", "tests.helpers.corpus:SlowImage")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    root = tmp_path_factory.mktemp("deployed")
    write_config(root, SLOW + "engine: {pools: {cpu: 2}}\n")
    deliver(root / "drops" / "first", 60)
    return Workspace.open(root)


@pytest.fixture(scope="module")
def deployment(corpus: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    folder = tmp_path_factory.mktemp("deployment")
    with deployed(corpus.root, folder, ENCODED_LOG=str(folder / "encoded.log")) as running:
        yield running


def test_the_page_makes_what_the_command_line_makes(corpus, deployment, tmp_path):
    run = deployment.launch(["samples", "signals", "vectors"], "first")
    assert deployment.wait(run) == "SUCCESS"
    names = ["pairs", "duplicates", "decisions", "banks", "gallery", "index", "release"]
    run = deployment.launch(names)
    assert deployment.wait(run) == "SUCCESS"

    write_config(tmp_path)  # the same encoders, less slow
    deliver(tmp_path / "drops" / "first", 60)
    other = Workspace.open(tmp_path)
    run_missing(other)
    assert outputs(corpus) == outputs(other)


def test_a_cancelled_run_stops_its_work_and_resumes(corpus, deployment):
    deliver(corpus.root / "drops" / "cancelled", 600, first=100)
    assert deployment.add_drop("cancelled") == "AddDynamicPartitionSuccess"
    run = deployment.launch(["samples", "signals", "vectors"], "cancelled")
    staging = Path(corpus.tables.root, "_staging")
    wait_until(lambda: len(list(staging.glob("vectors-*/*/units/*.jsonl"))) >= 2)
    started = time.monotonic()
    deployment.terminate(run)
    assert deployment.wait(run, seconds=60) == "CANCELED"
    wait_until(lambda: not ray_processes(), 30)
    assert time.monotonic() - started < 45
    assert stage_record(corpus.tables, "vectors", "cancelled") is None

    run = deployment.launch(["samples", "signals", "vectors"], "cancelled")
    assert deployment.wait(run) == "SUCCESS"
    record = stage_record(corpus.tables, "vectors", "cancelled")
    assert record is not None
    assert record["resumed"] >= 2
    assert record["kept"] == 1200


def ray_processes() -> list[str]:
    """Ray's processes of deployed runs, which have the variable of this test."""
    listed = subprocess.run(["pgrep", "-f", "raylet|ray::"], capture_output=True, text=True)
    return [pid for pid in listed.stdout.split() if _has_log(pid)]


def _has_log(pid: str) -> bool:
    try:
        return b"ENCODED_LOG=" in Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False


def test_a_run_whose_process_is_killed_fails_and_gives_its_place_back(corpus, deployment):
    deliver(corpus.root / "drops" / "killed", 400, first=1000)
    assert deployment.add_drop("killed") == "AddDynamicPartitionSuccess"
    run = deployment.launch(["samples", "signals", "vectors"], "killed")
    staging = Path(corpus.tables.root, "_staging")
    wait_until(lambda: bool(list(staging.glob("vectors-*/*/units/*.jsonl"))))
    children = subprocess.run(
        ["pgrep", "-P", str(deployment.code_location.pid)], capture_output=True, text=True
    ).stdout.split()
    assert children
    for pid in children:
        os.kill(int(pid), signal.SIGKILL)
    assert deployment.wait(run) == "FAILURE"
    # The pool `gpu` has one place: the next run gets it once the dead run has given it back.
    again = deployment.launch(["samples", "signals", "vectors"], "killed")
    assert deployment.wait(again) == "SUCCESS"
    assert not staleness.stale(corpus, staleness.drops(corpus)["killed"])


def materialized(deployment: Deployment) -> dict[str, int]:
    """How many partitions of each asset have tables, as the page shows it; 1 without partitions."""
    nodes = deployment.query(_MATERIALIZED).get("assetNodes", [])
    return {
        node["assetKey"]["path"][-1]: node["partitionStats"]["numMaterialized"]
        if node["partitionStats"]
        else len(node["assetMaterializations"])
        for node in nodes
    }


def test_a_lost_database_is_written_again_from_the_tables(corpus, deployment, tmp_path):
    before = materialized(deployment)
    assert before["vectors"] == 3
    assert before["release"] == 1
    with deployed(corpus.root, tmp_path) as again:  # with a new database
        wait_until(lambda: materialized(again) == before, 120)
        migration = subprocess.run(
            [sys.executable, "-m", "dagster", "instance", "migrate"],
            cwd=again.home,
            env=again.environment,
            capture_output=True,
            text=True,
        )
        assert migration.returncode == 0, migration.stderr
        made = outputs(corpus)
        assert again.wait(again.launch(["samples", "signals", "vectors"], "first")) == "SUCCESS"
        assert outputs(corpus) == made


_MATERIALIZED = """{assetNodes {assetKey {path} partitionStats {numMaterialized}
  assetMaterializations(limit: 1) {runId}}}"""
