"""A Ray cluster of several real nodes: one dies in the middle, the head is lost, none comes."""

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from orchestration.runner import run_missing
from store.tables.staging import stage_record
from store.workspace import Workspace
from tests.helpers.corpus import CONFIG, deliver, write_config
from tests.helpers.ray_nodes import Nodes, kill, ray_nodes
from tests.helpers.stores import S3Server
from tests.whole.test_kill import vectors

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]
SLOW = CONFIG.replace("tests.helpers.corpus:ColourImage", "tests.helpers.corpus:SlowImage")
ENGINE = "engine: {ray: {actors: 2}, signals: ray}\n"
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
def nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Nodes]:
    """A head that does no work. Tests add nodes."""
    monkeypatch.setenv("ENCODED_LOG", str(tmp_path / "encoded.log"))
    with ray_nodes() as started:
        yield started


def encoded(log: Path) -> int:
    """How many images were encoded so far."""
    return len(log.read_text().splitlines()) if log.exists() else 0


def wait_for_encoded(run: subprocess.Popen, log: Path, count: int) -> None:
    """Wait until a run has encoded so many images."""
    end = time.monotonic() + 600
    while encoded(log) < count:
        assert run.poll() is None, run.communicate()
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_lost_node_and_a_lost_head_change_no_table(nodes, tmp_path, s3: S3Server):
    root, log = tmp_path / "disturbed", tmp_path / "encoded.log"
    tables = yaml.safe_dump({"tables": {"path": s3.folder(), "options": s3.options()}})
    write_config(root, SLOW + ENGINE + tables)
    deliver(root / "drops" / "a", 400)
    command = ("-m", "orchestration.cli.main", "run", "--corpus", str(root))
    nodes.worker()
    lost = nodes.worker()
    nodes.wait_for_cpus(4)
    run = nodes.run(*command)
    wait_for_encoded(run, log, 40)
    kill(lost)
    wait_for_encoded(run, log, 160)
    for node in nodes.processes:
        kill(node)
    out, err = run.communicate(timeout=300)
    assert run.returncode == 1, out + err
    assert "Ray" in err
    assert "Traceback" not in err
    disturbed = Workspace.open(root)
    assert stage_record(disturbed.tables, "samples", "a") is not None
    assert stage_record(disturbed.tables, "vectors", "a") is None

    before = encoded(log)
    nodes.head()
    nodes.worker()
    run = nodes.run(*command)
    out, err = run.communicate(timeout=600)
    assert run.returncode == 0, out + err
    assert encoded(log) - before < 400  # what was staged was not encoded again

    write_config(tmp_path / "undisturbed", CONFIG)  # the same encoders, less slow
    deliver(tmp_path / "undisturbed" / "drops" / "a", 400)
    undisturbed = Workspace.open(tmp_path / "undisturbed")
    run_missing(undisturbed)
    counts = ("input", "kept", "rejected", "failed", "output")
    for stage, drop in (("samples", "a"), ("signals", "a"), ("vectors", "a"), ("decisions", "*")):
        pair = [stage_record(each.tables, stage, drop) for each in (disturbed, undisturbed)]
        first, second = ({n: record[n] for n in counts} for record in pair if record)
        assert first == second, stage
    first, second = vectors(disturbed.root), vectors(undisturbed.root)
    assert first.keys() == second.keys()
    assert max(abs(first[key] - second[key]).max() for key in first) < 1e-5


def test_a_pool_waits_for_a_node_and_says_so(nodes):
    waiting = nodes.run("-c", POOL, "300")
    assert waiting.stderr is not None
    line = next(line for line in waiting.stderr if "waiting" in line)
    assert line.startswith("waiting for 1 times 2 CPU and 0 GPU: 0 of 300 seconds")
    nodes.worker()
    out, err = waiting.communicate(timeout=300)
    assert out.strip() == "['part']", err


def test_a_pool_gives_up_at_the_deadline_with_one_line(nodes):
    out, err = nodes.run("-c", POOL, "3").communicate(timeout=300)
    assert "do not fit the cluster, which has 0 CPU and 0 GPU after 3 seconds" in out, err
    assert len(out.splitlines()) == 1
