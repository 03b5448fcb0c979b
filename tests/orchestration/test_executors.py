"""What Dagster's definitions take from corpus.yaml: executor and owners."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestration.definitions import ASSETS, VARIABLE, config_of, owned
from orchestration.executors import executor
from pipelines.stages import staleness
from store.workspace import Workspace
from tests.helpers.corpus import CONFIG, deliver, write_config

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", ["in_process", "multiprocess", "k8s"])
def test_the_executor_is_that_of_corpus_yaml(tmp_path, name):
    write_config(tmp_path, CONFIG + f"engine: {{executor: {name}}}\n")
    assert executor(config_of(str(tmp_path))).name == name


def test_without_a_valid_corpus_steps_run_in_the_process_of_the_run(tmp_path):
    write_config(tmp_path, "sources: 3\n")
    assert config_of(str(tmp_path)) is None
    assert config_of(None) is None
    assert executor(None).name == "in_process"


def test_the_owners_of_assets_are_those_of_corpus_yaml(tmp_path):
    owners = ["team:search", "ann@example.org"]
    write_config(tmp_path, CONFIG + f"owners: {owners}\n")
    assets = owned(ASSETS, config_of(str(tmp_path)))
    assert [spec.owners for asset in assets for spec in asset.specs] == 11 * [owners]


@pytest.mark.slow
def test_steps_run_in_processes_of_their_own(tmp_path):
    write_config(tmp_path, CONFIG + "engine: {executor: multiprocess}\n")
    deliver(tmp_path / "drops" / "only", 12)
    words = ["asset", "materialize", "--select", "samples,signals", "--partition", "only"]
    home = tmp_path / "home"
    home.mkdir()
    add = (
        "import dagster as dg\n"
        "with dg.DagsterInstance.get() as instance:\n"
        "    instance.add_dynamic_partitions('drop', ['only'])"
    )
    environment = os.environ | {"DAGSTER_HOME": str(home), VARIABLE: str(tmp_path)}
    run = {"env": environment, "cwd": ROOT, "capture_output": True, "text": True}
    subprocess.run([sys.executable, "-c", add], check=True, **run)
    module = ["-m", "orchestration.definitions"]
    done = subprocess.run([sys.executable, "-m", "dagster", *words, *module], **run)
    assert done.returncode == 0, done.stderr
    assert "Launching subprocess" in done.stderr + done.stdout
    workspace = Workspace.open(tmp_path)
    drop = staleness.drops(workspace)["only"]
    assert staleness.stale(workspace, drop) == ["vectors"]
