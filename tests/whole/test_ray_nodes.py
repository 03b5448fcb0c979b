"""A Ray cluster of several real nodes: one dies in the middle, one comes later, none comes."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ray.cluster_utils import Cluster

from store.tables.staging import stage_record
from store.workspace import Workspace
from tests.helpers.corpus import CONFIG, deliver, write_config
from tests.whole.test_kill import vectors

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]
ROOT = Path(__file__).resolve().parents[2]
SLOW = CONFIG.replace("tests.helpers.corpus:ColourImage", "tests.helpers.corpus:SlowImage")
POOL = """
import sys
from embedders.pool.pool import Pool
from store.errors import EncoderError
spec, seconds = "python:tests.helpers.encoders:Hashing", float(sys.argv[1])
try:
    with Pool(spec, num_cpus=2, wait_seconds=seconds) as pool:
        (result,) = pool.map([("unit", lambda: [("part", "a text")])])
        print(result.ids)
except EncoderError as error:
    print(error)
"""


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A head that does no work, which needs a token. Tests add nodes."""
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "a" * 64)
    monkeypatch.setenv("ENCODED_LOG", str(tmp_path / "encoded.log"))
    store = {"object_store_memory": 300 << 20, "include_dashboard": False}
    started = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **store})
    monkeypatch.setenv("RAY_ADDRESS", started.address)
    yield started
    started.shutdown()


def add_node(cluster: Cluster):
    return cluster.add_node(num_cpus=2, object_store_memory=300 << 20)


def start(*words: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, *words],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(root: Path) -> subprocess.Popen:
    return start("-m", "orchestration.cli.main", "run", "--corpus", str(root))


def test_a_node_that_dies_in_the_middle_changes_no_table(cluster, tmp_path, monkeypatch):
    for name in ("disturbed", "undisturbed"):
        write_config(tmp_path / name, SLOW + "engine: {ray: {actors: 2}, signals: ray}\n")
        deliver(tmp_path / name / "drops" / "a", 400)
    add_node(cluster)
    lost = add_node(cluster)
    disturbed = run(tmp_path / "disturbed")
    staging = tmp_path / "disturbed" / "tables" / "_staging"
    end = time.monotonic() + 600
    while len(list(staging.glob("vectors-*/*/units/*.jsonl"))) < 2:
        assert disturbed.poll() is None, disturbed.communicate()
        assert time.monotonic() < end
        time.sleep(0.05)
    cluster.remove_node(lost, allow_graceful=False)
    out, err = disturbed.communicate(timeout=600)
    assert disturbed.returncode == 0, out + err

    monkeypatch.delenv("RAY_ADDRESS")
    undisturbed = run(tmp_path / "undisturbed")
    out, err = undisturbed.communicate(timeout=600)
    assert undisturbed.returncode == 0, out + err
    pair = [Workspace.open(tmp_path / name) for name in ("disturbed", "undisturbed")]
    for stage, drop in (("samples", "a"), ("signals", "a"), ("vectors", "a"), ("decisions", "*")):
        first, second = (stage_record(each.tables, stage, drop) for each in pair)
        assert first is not None
        assert second is not None
        counts = ("input", "kept", "rejected", "failed", "output")
        assert {n: first[n] for n in counts} == {n: second[n] for n in counts}, stage
    first, second = (vectors(each.root) for each in pair)
    assert first.keys() == second.keys()
    assert max(abs(first[key] - second[key]).max() for key in first) < 1e-5


def test_a_pool_waits_for_a_node_and_says_so(cluster):
    waiting = start("-c", POOL, "300")
    assert waiting.stderr is not None
    line = next(line for line in waiting.stderr if "waiting" in line)
    assert line.startswith("waiting for 1 times 2 CPU and 0 GPU: 0 of 300 seconds")
    add_node(cluster)
    out, err = waiting.communicate(timeout=300)
    assert out.strip() == "['part']", err


def test_a_pool_gives_up_at_the_deadline_with_one_line(cluster):
    out, err = start("-c", POOL, "3").communicate(timeout=300)
    assert "do not fit the cluster, which has 0 CPU and 0 GPU after 3 seconds" in out, err
    assert len(out.splitlines()) == 1
