"""Where Dagster executes runs and their steps."""

import os
import subprocess
import sys

import dagster as dg
import pytest
import yaml

from orchestration.definitions import VARIABLE, config_of, define
from orchestration.executors import executor
from pipelines.stages import staleness
from store.workspace import Workspace
from tests.helpers.corpus import CONFIG, deliver, write_config
from tests.helpers.deployment import ROOT, documented_launcher


@pytest.mark.parametrize("name", ["in_process", "multiprocess", "k8s"])
def test_the_executor_is_that_of_corpus_yaml(tmp_path, name):
    write_config(tmp_path, CONFIG + f"engine: {{executor: {name}}}\n")
    assert executor(config_of(str(tmp_path))).name == name


def test_without_a_valid_corpus_steps_run_in_the_process_of_the_run(tmp_path):
    write_config(tmp_path, "sources: 3\n")
    assert config_of(str(tmp_path)) is None
    assert config_of(None) is None
    assert executor(None).name == "in_process"


def test_runs_can_be_jobs_of_a_kuberay_cluster(tmp_path):
    """The configuration in docs/operations.md, as Dagster's chart writes it to dagster.yaml."""
    settings = {"run_launcher": documented_launcher()}
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(settings))
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        launcher = instance.run_launcher
        # Within the instance: another test may have left a closed one behind.
        assert define(None).resolve_job_def("drop").executor_def.name == "in_process"
    assert type(launcher).__name__ == "RayRunLauncher"
    assert launcher.address == "http://isotrope-head-svc:8265"
    assert launcher.num_cpus == 1


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
