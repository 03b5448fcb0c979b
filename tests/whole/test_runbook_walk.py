"""The runbook from nothing: sensors ingest a drop on Ray nodes into S3, with Dagster on PostgreSQL.

Then what an on-call engineer meets: a node is lost, a bad drop raises an alert, a run is cancelled
from the page, and an earlier release is served. With the variable ISOTROPE_PICTURES, the folder to
write to, the pages are photographed.
"""

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestration.runner import run_missing
from store.errors import NotFoundError
from store.tables import releases
from store.tables.stages import EVERY_DROP
from store.tables.staging import stage_record
from store.workspace import Workspace
from tests.helpers.alerts import alerts
from tests.helpers.corpus import CONFIG, deliver, write_config
from tests.helpers.deployment import ROOT, Deployment, deployed, wait_until
from tests.helpers.photographs import photograph
from tests.helpers.postgres import free_port
from tests.helpers.ray_nodes import Nodes, kill, ray_nodes
from tests.helpers.stages import outputs
from tests.helpers.stores import S3Server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
SLOW = CONFIG.replace("tests.helpers.corpus:ColourImage", "tests.helpers.corpus:SlowImage")
BY_DROP = ["samples", "signals", "vectors"]
# The sensor may have added a drop already.
KNOWN = ("AddDynamicPartitionSuccess", "DuplicateDynamicPartitionError")


class Deployed:
    """What the tests of this file share: they walk on from each other."""

    def __init__(self, folder: Path, s3: S3Server, nodes: Nodes):
        self.root, self.log, self.nodes = folder / "corpus", folder / "encoded.log", nodes
        tables = {"path": s3.folder(), "options": s3.options()}
        engine = {"pools": {"cpu": 2}, "ray": {"actors": 2}, "signals": "ray"}
        config = yaml.safe_load(SLOW) | {"tables": tables, "engine": engine}
        write_config(self.root, yaml.safe_dump(config))
        self.corpus = Workspace.open(self.root)
        self.texts: list[str] = []
        self.page: Deployment

    def encoded(self) -> int:
        """How many images the nodes have encoded so far."""
        return len(self.log.read_text().splitlines()) if self.log.exists() else 0

    def wait_for_encoded(self, count: int) -> None:
        """Wait until this many images were encoded."""
        wait_until(lambda: self.encoded() >= count)

    def newest_release(self) -> int:
        """The number of the newest release; 0 without one."""
        try:
            return releases.latest_release(self.corpus.tables, "colours").number
        except NotFoundError:
            return 0


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory, s3: S3Server) -> Iterator[Deployed]:
    folder = tmp_path_factory.mktemp("walk")
    with ray_nodes() as nodes, alerts() as (address, texts):
        walk = Deployed(folder, s3, nodes)
        walk.texts = texts
        variables = nodes.variables | {
            "ENCODED_LOG": str(walk.log),
            "ISOTROPE_ALERT_URL": address,
        }
        with pytest.MonkeyPatch.context() as patch:
            for name, value in variables.items():
                patch.setenv(name, value)
            for _ in range(2):
                nodes.worker()
            nodes.wait_for_cpus(4)
        with deployed(walk.root, folder, **variables) as walk.page:
            yield walk


def switch_on(page: Deployment, sensor: str) -> None:
    """Turn a sensor on, as its switch in the page does."""
    done = page.query(
        """mutation($sensor: String!) {startSensor(sensorSelector: {sensorName: $sensor,
           repositoryName: "__repository__", repositoryLocationName: "isotrope"}) {__typename}}""",
        sensor=sensor,
    )
    assert done["startSensor"]["__typename"] == "Sensor", done


def test_a_delivery_becomes_a_release_though_a_node_is_lost(walk, tmp_path):
    for sensor in ("deliveries", "changes"):
        switch_on(walk.page, sensor)
    deliver(walk.root / "drops" / "first", 300)
    walk.wait_for_encoded(40)
    photograph(walk.page.port, "/runs", "dagster-ingesting.png")
    kill(walk.nodes.processes[-1])
    wait_until(lambda: walk.newest_release() == 1)
    photograph(walk.page.port, "/assets", "dagster-ingested.png")

    write_config(tmp_path)  # the same encoders, less slow, on local tables
    deliver(tmp_path / "drops" / "first", 300)
    other = Workspace.open(tmp_path)
    run_missing(other)
    assert outputs(walk.corpus) == outputs(other)


def test_a_bad_drop_raises_one_alert(walk):
    bad = walk.root / "drops" / "bad"
    bad.mkdir()
    for number in range(100):
        (bad / f"{number:03d}.png").write_bytes(b"not a picture")
        (bad / f"{number:03d}.txt").write_text("a caption")
    assert walk.page.add_drop("bad") in KNOWN
    for _ in range(3):
        assert walk.page.wait(walk.page.launch(["samples"], "bad")) == "FAILURE"
    wait_until(lambda: bool(walk.texts), 180)
    (text,) = walk.texts
    assert "samples of drop bad has failed 3 times in a row" in text
    assert "BudgetError: " in text
    photograph(walk.page.port, "/runs", "dagster-failed-runs.png")
    for file in bad.iterdir():
        file.unlink()
    bad.rmdir()


def test_a_cancelled_run_frees_the_nodes_and_resumes(walk):
    before, release = walk.encoded(), walk.newest_release()
    deliver(walk.root / "drops" / "second", 400, first=1000)
    assert walk.page.add_drop("second") in KNOWN
    walk.page.launch(BY_DROP, "second")
    walk.wait_for_encoded(before + 40)
    actors = walk.nodes.actors()
    assert actors
    # The sensor may have requested the drop too. One run embeds, the other waits for its place.
    runs = walk.page.unfinished()
    for run in runs:
        walk.page.terminate(run)
    assert {walk.page.wait(run, seconds=120) for run in runs} == {"CANCELED"}
    assert stage_record(walk.corpus.tables, "vectors", "second") is None
    wait_until(lambda: not actors & walk.nodes.actors(), 60)
    photograph(walk.page.port, "/runs", "dagster-cancelled.png")

    walk.page.launch(BY_DROP, "second")
    wait_until(lambda: walk.newest_release() > release)
    record = stage_record(walk.corpus.tables, "vectors", "second")
    assert record is not None
    assert record["kept"] == 800
    wait_until(lambda: stage_record(walk.corpus.tables, "release", EVERY_DROP) is not None, 120)


def test_an_earlier_release_is_served(walk):
    port = free_port()
    words = ["serve", "--corpus", str(walk.root), "--port", str(port), "--release", "1"]
    server = subprocess.Popen(
        [sys.executable, "-m", "orchestration.cli.main", *words],
        cwd=ROOT,
        env=os.environ,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def served() -> dict[str, Any]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/release", timeout=5) as reply:
                return json.loads(reply.read())
        except OSError:
            return {}

    try:
        wait_until(lambda: bool(served()), 120)
        assert served()["number"] == 1
    finally:
        server.terminate()
        server.wait(60)
