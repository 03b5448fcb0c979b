"""Logs as JSON lines, of the command line and of a code location, each in a process of its own."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestration import json_logs
from tests.helpers.corpus import CONFIG, deliver, write_config

# What a deployed code location does for a run: load the definitions, and execute a job.
CODE_LOCATION = """
import dagster as dg
from orchestration.definitions import definitions
with dg.DagsterInstance.ephemeral() as instance:
    instance.add_dynamic_partitions("drop", ["only"])
    definitions.resolve_job_def("drop").execute_in_process(
        partition_key="only", instance=instance, asset_selection=[dg.AssetKey("samples")])
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_config(tmp_path, CONFIG + "log_format: json\n")
    deliver(tmp_path / "drops" / "only", 12)
    return tmp_path


def lines(*words: str, code: int = 0, **variables: str) -> list[dict[str, Any]]:
    """The lines that a process of Python writes to standard error; each must be JSON."""
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", *words],
        capture_output=True,
        text=True,
        env=os.environ | variables,
        cwd=Path(__file__).parents[2],
    )
    assert ended.returncode == code, ended.stderr
    return [json.loads(line) for line in ended.stderr.splitlines()]


def counts(logged: list[dict[str, Any]]) -> dict[str, Any]:
    (line,) = (line for line in logged if "12 kept" in line["message"])
    return line


@pytest.mark.slow
def test_a_run_of_the_command_line_logs_run_drop_and_stage(root):
    command = ("-m", "orchestration.cli.main", "run", "--corpus", str(root))
    line = counts(lines(*command, "--select", "samples"))
    assert line["message"] == "samples: 12 in, 12 kept, 0 rejected, 0 failed"
    assert (line["drop"], line["stage"], line["level"]) == ("only", "samples", "info")
    assert len(line["run"]) == 36
    assert line["time"].endswith("+00:00")

    (error,) = lines(*command, "--drop", "onyl", code=1)
    assert error["level"] == "error"
    assert "no source delivers a drop 'onyl'" in error["message"]


@pytest.mark.slow
def test_a_code_location_logs_the_same(root):
    line = counts(lines("-c", CODE_LOCATION, ISOTROPE_CORPUS=str(root)))
    assert (line["drop"], line["stage"], line["job"]) == ("only", "samples", "drop")


def test_the_option_wins_over_the_variable_and_that_over_the_configuration(monkeypatch):
    assert json_logs.chosen(None, "json") == "json"
    monkeypatch.setenv(json_logs.VARIABLE, "text")
    assert json_logs.chosen(None, "json") == "text"
    assert json_logs.chosen("json", "text") == "json"
    monkeypatch.setenv(json_logs.VARIABLE, "xml")
    assert json_logs.chosen(None, "json") == "json"


def test_an_error_has_its_traceback_in_the_same_line():
    try:
        raise ValueError("two\nlines")
    except ValueError:
        info = sys.exc_info()
    record = logging.LogRecord("ray", logging.ERROR, "", 1, "node %s", ("a",), info)
    line = json_logs.JsonFormatter().format(record)
    assert "\n" not in line
    read = json.loads(line)
    assert (read["logger"], read["message"]) == ("ray", "node a")
    assert "ValueError: two\nlines" in read["traceback"]
