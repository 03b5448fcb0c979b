"""Dagster's page in processes of its own: a whole deployment, and that of `isotrope dev`.

A deployment is PostgreSQL, page, daemon and code location, with the settings of infra/compose.
"""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

import yaml

from tests.helpers.postgres import free_port, postgres

ROOT = Path(__file__).resolve().parents[2]
ENDED = ("SUCCESS", "FAILURE", "CANCELED")


@dataclass
class Deployment:
    """The page of a running deployment, as its browser sees it.

    Attributes:
        port: of the page.
        home: the folder of dagster.yaml.
        environment: of its processes.
        code_location: the process that serves the definitions and executes runs.
        location: the name of the code location.
    """

    port: int
    home: Path
    environment: dict[str, str]
    code_location: subprocess.Popen
    location: str = "isotrope"

    def query(self, text: str, **variables: Any) -> dict[str, Any]:
        """The data of a GraphQL query; empty while the page does not answer."""
        return query(self.port, text, **variables)

    def launch(self, stages: list[str], drop: str | None = None, **tags: str) -> str:
        """Launch a run of assets from the page; returns its id."""
        if drop is not None:
            tags["dagster/partition"] = drop
        done = self.query(
            _LAUNCH,
            location=self.location,
            stages=[{"path": [stage]} for stage in stages],
            tags=[{"key": key, "value": value} for key, value in tags.items()],
        )
        return done["launchRun"]["run"]["runId"]

    def add_drop(self, drop: str) -> str:
        """Add a drop's partition, as the sensor does; returns the type of the answer."""
        done = self.query(_ADD_DROP, location=self.location, drop=drop)
        return done["addDynamicPartition"]["__typename"]

    def terminate(self, run: str) -> None:
        """Press the page's button that cancels a run; Dagster refuses it while the run starts."""

        def pressed() -> bool:
            done = self.query(_TERMINATE, run=run)["terminateRun"]
            if done["__typename"] == "TerminateRunSuccess":
                return True
            assert done.get("message", "").endswith(_IS_STARTING), done
            return False

        wait_until(pressed, 120)

    def status(self, run: str) -> str:
        """The status of a run, such as STARTED."""
        return self.query(_STATUS, run=run)["runOrError"]["status"]

    def unfinished(self) -> list[str]:
        """The ids of the runs that wait or work."""
        return [run["runId"] for run in self.query(_UNFINISHED)["runsOrError"]["results"]]

    def wait(self, run: str, *statuses: str, seconds: float = 600) -> str:
        """Wait until a run has one of these statuses (default: has ended); returns it."""
        wait_until(lambda: self.status(run) in (statuses or ENDED), seconds)
        return self.status(run)


@contextmanager
def deployed(
    corpus: Path, folder: Path, settings: str = "", **variables: str
) -> Iterator[Deployment]:
    """Start all processes of a deployment, wait until its page shows the assets, and end them.

    Args:
        corpus: the folder of the corpus.
        folder: where Dagster's home is made.
        settings: lines that are appended to infra/compose/dagster.yaml.
        variables: more variables of the environment.
    """
    home = folder / "dagster_home"
    home.mkdir(parents=True)
    compose = ROOT / "infra" / "compose"
    text = (
        (compose / "dagster.yaml")
        .read_text()
        .replace("poll_interval_seconds: 15", "poll_interval_seconds: 3")
    )
    (home / "dagster.yaml").write_text(text + settings)
    code_port, page_port = free_port(), free_port()
    workspace = home / "workspace.yaml"
    workspace.write_text(
        (compose / "workspace.yaml")
        .read_text()
        .replace("host: code-location", "host: localhost")
        .replace("port: 4000", f"port: {code_port}")
    )
    with ExitStack() as stack:
        environment = os.environ | stack.enter_context(postgres()) | variables
        environment |= {"DAGSTER_HOME": str(home), "PYTHONPATH": str(ROOT)}

        def start(name: str, *words: str) -> subprocess.Popen:
            log = stack.enter_context((folder / f"{name}.log").open("ab"))
            process = subprocess.Popen(
                [sys.executable, "-W", "ignore", "-m", *words],
                cwd=home,
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            stack.callback(_end, process)
            return process

        def start_code_location() -> subprocess.Popen:
            words = ["orchestration.cli.main", "dagster", "--corpus", str(corpus)]
            process = start("code-location", *words, "--port", str(code_port))
            health = [
                sys.executable,
                "-m",
                "dagster",
                "api",
                "grpc-health-check",
                "-p",
                str(code_port),
            ]

            def answers() -> bool:
                log = (folder / "code-location.log").read_text()
                assert process.poll() is None, log
                return not subprocess.run(health, cwd=home, capture_output=True).returncode

            wait_until(answers)
            return process

        code_location = start_code_location()
        page = ["-h", "127.0.0.1", "-p", str(page_port), "-w", str(workspace)]
        start("webserver", "dagster_webserver", *page)
        start("daemon", "dagster._daemon", "run", "-w", str(workspace))
        deployment = Deployment(page_port, home, environment, code_location)
        wait_until(lambda: bool(deployment.query("{assetNodes {id}}").get("assetNodes")))
        yield deployment


@contextmanager
def dev_page(corpus: Path, *options: str) -> Iterator[Deployment]:
    """Start `isotrope dev`, and stop it as Ctrl-C does. Its page may not answer yet.

    Args:
        corpus: the folder of the corpus.
        options: more options of the command.
    """
    port = free_port()
    words = ["dev", "--corpus", str(corpus), "--port", str(port), *options]
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler);"
        f"from orchestration.cli.main import main; main({words!r})"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    home, location = corpus / ".dagster", "orchestration.definitions"
    try:
        yield Deployment(port, home, dict(os.environ), process, location)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(180)


def query(port: int, text: str, **variables: Any) -> dict[str, Any]:
    """The data of a GraphQL query to a page; empty while it does not answer."""
    body = json.dumps({"query": text, "variables": variables}).encode()
    address = f"http://127.0.0.1:{port}/graphql"
    request = urllib.request.Request(address, body, {"content-type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=60) as reply:
            return json.loads(reply.read())["data"] or {}
    except OSError:
        return {}


def wait_until(condition: Callable[[], bool], seconds: float = 600) -> None:
    """Wait until a condition holds; fails after this time."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited for {seconds} seconds"
        time.sleep(0.5)


def documented_launcher() -> dict[str, Any]:
    """The launcher of runs as jobs of a Ray cluster, as docs/operations.md configures it."""
    lines = (ROOT / "docs" / "operations.md").read_text().splitlines()
    start = lines.index("runLauncher:")
    block = takewhile(lambda line: not line.startswith("```"), lines[start:])
    values = yaml.safe_load("\n".join(block))["runLauncher"]
    assert values["type"] == "CustomRunLauncher"
    return values["config"]["customRunLauncher"]


def _end(process: subprocess.Popen) -> None:
    """End a process and all of its children."""
    for sent in (signal.SIGINT, signal.SIGKILL):
        if process.poll() is None or sent == signal.SIGKILL:
            try:
                os.killpg(process.pid, sent)
            except ProcessLookupError:
                break
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                continue


_LAUNCH = """mutation($location: String!, $stages: [AssetKeyInput!], $tags: [ExecutionTag!]) {
  launchRun(executionParams: {
    selector: {repositoryName: "__repository__", repositoryLocationName: $location,
               jobName: "__ASSET_JOB", assetSelection: $stages},
    executionMetadata: {tags: $tags}})
  {...on LaunchRunSuccess {run {runId}} ...on PythonError {message}}}"""
_ADD_DROP = """mutation($location: String!, $drop: String!) {
  addDynamicPartition(partitionsDefName: "drop", partitionKey: $drop, repositorySelector:
    {repositoryName: "__repository__", repositoryLocationName: $location}) {__typename}}"""
_TERMINATE = """mutation($run: String!) {terminateRun(runId: $run) {__typename
  ...on TerminateRunFailure {message} ...on PythonError {message}}}"""
_IS_STARTING = "could not be terminated due to having status STARTING."
_UNFINISHED = """{runsOrError(filter: {statuses: [QUEUED, STARTING, STARTED]}) {
  ...on Runs {results {runId}}}}"""
_STATUS = "query($run: ID!) {runOrError(runId: $run) {...on Run {status}}}"
