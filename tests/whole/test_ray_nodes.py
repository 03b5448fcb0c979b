"""A Ray cluster of several real nodes: one dies in the middle, one comes later, none comes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from store.tables.staging import stage_record
from store.workspace import Workspace
from tests.helpers.corpus import CONFIG, deliver, write_config
from tests.helpers.deployment import wait_until
from tests.helpers.postgres import free_port
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


@dataclass
class Nodes:
    """The nodes of a cluster, each a process group of `ray start`.

    Attributes:
        address: of the head.
    """

    address: str
    processes: list[subprocess.Popen] = field(default_factory=list)

    def add(self, *options: str) -> subprocess.Popen:
        """Start a node; it joins the cluster within seconds."""
        words = ["start", "--block", "--object-store-memory=300000000", *options]
        node = subprocess.Popen(
            [sys.executable, "-m", "ray.scripts.scripts", *words],
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        self.processes.append(node)
        return node

    def worker(self) -> subprocess.Popen:
        """Start a node of two CPUs."""
        return self.add(f"--address={self.address}", "--num-cpus=2")


def kill(node: subprocess.Popen) -> None:
    """End a node and all of its processes at once, as when its machine is lost."""
    with suppress(ProcessLookupError):
        os.killpg(node.pid, signal.SIGKILL)
    node.wait()


@pytest.fixture
def nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Nodes]:
    """A head that does no work, which needs a token. Tests add nodes."""
    port = free_port()
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "a" * 64)
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{port}")
    monkeypatch.setenv("ENCODED_LOG", str(tmp_path / "encoded.log"))
    started = Nodes(f"127.0.0.1:{port}")
    try:
        started.add("--head", f"--port={port}", "--num-cpus=0", "--include-dashboard=false")
        yield started
    finally:
        for node in started.processes:
            kill(node)


def start(*words: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, *words],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_head(nodes: Nodes) -> None:
    """Wait until the head accepts the token."""
    script = (
        f"from embedders.pool.ray_address import check_address; check_address({nodes.address!r})"
    )
    wait_until(lambda: not start("-c", script).wait(), 120)


def wait_for_cpus(count: int) -> None:
    """Wait until the nodes have joined."""
    script = (
        "import ray, sys; ray.init(logging_level='ERROR', log_to_driver=False);"
        f"sys.exit(ray.cluster_resources().get('CPU', 0) < {count})"
    )
    wait_until(lambda: not start("-c", script).wait(), 180)


def run(root: Path) -> subprocess.Popen:
    return start("-m", "orchestration.cli.main", "run", "--corpus", str(root))


def test_a_node_that_dies_in_the_middle_changes_no_table(nodes, tmp_path, monkeypatch):
    for name in ("disturbed", "undisturbed"):
        write_config(tmp_path / name, SLOW + "engine: {ray: {actors: 2}, signals: ray}\n")
        deliver(tmp_path / name / "drops" / "a", 400)
    wait_for_head(nodes)
    nodes.worker()
    lost = nodes.worker()
    wait_for_cpus(4)
    disturbed = run(tmp_path / "disturbed")
    staging = tmp_path / "disturbed" / "tables" / "_staging"
    end = time.monotonic() + 600
    while len(list(staging.glob("vectors-*/*/units/*.jsonl"))) < 2:
        assert disturbed.poll() is None, disturbed.communicate()
        assert time.monotonic() < end
        time.sleep(0.05)
    kill(lost)
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


def test_a_pool_waits_for_a_node_and_says_so(nodes):
    wait_for_head(nodes)
    waiting = start("-c", POOL, "300")
    assert waiting.stderr is not None
    line = next(line for line in waiting.stderr if "waiting" in line)
    assert line.startswith("waiting for 1 times 2 CPU and 0 GPU: 0 of 300 seconds")
    nodes.worker()
    out, err = waiting.communicate(timeout=300)
    assert out.strip() == "['part']", err


def test_a_pool_gives_up_at_the_deadline_with_one_line(nodes):
    wait_for_head(nodes)
    out, err = start("-c", POOL, "3").communicate(timeout=300)
    assert "do not fit the cluster, which has 0 CPU and 0 GPU after 3 seconds" in out, err
    assert len(out.splitlines()) == 1
