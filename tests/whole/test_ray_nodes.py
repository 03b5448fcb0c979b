"""A Ray cluster of several real nodes: one dies in the middle, one comes later, none comes."""

import subprocess
import time
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml

from benchmarks.lists import add
from orchestration.runner import run_missing
from store.tables.staging import stage_record
from store.workspace import Workspace
from tests.helpers.corpus import CONFIG, deliver, write_config
from tests.helpers.ray_nodes import Nodes, kill, ray_nodes
from tests.whole.test_kill import vectors

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]
SLOW = CONFIG.replace("tests.helpers.corpus:ColourImage", "tests.helpers.corpus:SlowImage")
ENGINE = "engine: {ray: {actors: 2}, signals: ray}\n"
UNITS = "_staging/vectors-*/*/units/*.jsonl"
RUN = ("-m", "orchestration.cli.main", "run", "--corpus")
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

LISTS = """
import sys, time
from pathlib import Path
from pipelines.decisions.kept_samples import kept_samples
from pipelines.engine import open_scratch
from store import identity
from store.workspace import Workspace
open_scratch._WORTH = open_scratch._COST = 0 if sys.argv[2] == "on nodes" else 10**9
root = Path(sys.argv[1])
with kept_samples(Workspace.open(root), root / "scratch") as kept:
    print(type(kept.scratch).__name__, flush=True)
    while not (root / "go on").exists():
        time.sleep(0.1)
    rows = kept.scratch.in_order("kept", ["number"])
    print(identity.run_key(*(str(table.to_pydict()) for table in rows)))
"""


@pytest.fixture
def nodes() -> Iterator[Nodes]:
    """A head that does no work. Tests add nodes."""
    with ray_nodes() as started:
        yield started


def start_run(nodes: Nodes, root: Path) -> subprocess.Popen:
    """A run on the nodes that has embedded two units."""
    run = nodes.run(*RUN, str(root))
    files = Workspace.open(root).tables.files
    end = time.monotonic() + 600
    while sum(fnmatch(file.path, UNITS) for file in files.list("_staging")) < 2:
        assert run.poll() is None, run.communicate()
        assert time.monotonic() < end
        time.sleep(0.1)
    return run


def test_a_node_that_dies_in_the_middle_changes_no_table(nodes, tmp_path):
    for name, config in (("disturbed", SLOW + ENGINE), ("undisturbed", CONFIG)):
        write_config(tmp_path / name, config)
        deliver(tmp_path / name / "drops" / "a", 200)
    nodes.worker()
    lost = nodes.worker()
    nodes.wait_for_cpus(4)
    run = start_run(nodes, tmp_path / "disturbed")
    kill(lost)
    out, err = run.communicate(timeout=600)
    assert run.returncode == 0, out + err

    pair = [Workspace.open(tmp_path / name) for name in ("disturbed", "undisturbed")]
    run_missing(pair[1])  # on a cluster of this process, with the same encoder, less slow
    counts = ("input", "kept", "rejected", "failed", "output")
    for stage, drop in (("samples", "a"), ("signals", "a"), ("vectors", "a"), ("decisions", "*")):
        records = [stage_record(each.tables, stage, drop) for each in pair]
        first, second = ({n: record[n] for n in counts} for record in records if record)
        assert first == second, stage
    first, second = (vectors(each.root) for each in pair)
    assert first.keys() == second.keys()
    assert max(abs(first[key] - second[key]).max() for key in first) < 1e-5


def test_lists_on_a_node_that_dies_are_made_again(nodes, tmp_path):
    (tmp_path / "corpus.yaml").write_text("sources: {s: {path: drops}}\n")
    add(Workspace.open(tmp_path), 0, 200_000)
    nodes.worker(1)
    lost = nodes.worker(1)
    nodes.wait_for_cpus(2)
    runs = [nodes.run("-c", LISTS, str(tmp_path), where) for where in ("on nodes", "here")]
    kinds = [run.stdout.readline().strip() for run in runs]
    assert kinds == ["RayTables", "DuckDBTables"], [run.communicate() for run in runs]
    kill(lost)
    (tmp_path / "go on").touch()
    on_nodes, here = (run.communicate(timeout=600)[0].splitlines() for run in runs)
    assert len(here[-1]) >= 32
    assert on_nodes[-1] == here[-1]  # Ray prints which node it lost before


def test_a_lost_head_ends_the_run_and_the_next_one_resumes(nodes, tmp_path, monkeypatch, s3):
    monkeypatch.setenv("RAY_gcs_rpc_server_reconnect_timeout_s", "20")  # instead of 60
    tables = {"path": s3.folder(), "options": s3.options()}
    write_config(tmp_path, SLOW + ENGINE + yaml.safe_dump({"tables": tables}))
    deliver(tmp_path / "drops" / "a", 200)
    nodes.worker()
    nodes.wait_for_cpus(2)
    run = start_run(nodes, tmp_path)
    head, worker = nodes.processes
    kill(head)
    _, err = run.communicate(timeout=300)
    assert run.returncode == 1, err
    assert "the head of the Ray cluster is lost (no Ray cluster answers at" in err

    kill(worker)
    nodes.head()
    nodes.worker()
    nodes.wait_for_cpus(2)
    out, err = nodes.run(*RUN, str(tmp_path)).communicate(timeout=600)
    record = stage_record(Workspace.open(tmp_path).tables, "vectors", "a")
    assert record is not None, out + err
    assert record["resumed"] >= 2
    assert record["kept"] == 400


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
