"""Beam's stages on a second runner: a job service of its own, over Beam's portable API.

`samples` and `signals` decode media there, and `samples` groups the repeats in a drop.
"""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.postgres import free_port
from tests.helpers.stages import curate
from tests.whole.test_order import CONFIG, TABLES, deliver, tables

PORTABLE = """\
engine:
  signals: beam
  beam: {{runner: PortableRunner, options: {{job_endpoint: "{}", environment_type: LOOPBACK}}}}"""


@pytest.fixture
def job_service() -> Iterator[str]:
    """The address of a job service, which is a process of its own."""
    port = free_port()
    module = "apache_beam.runners.portability.local_job_service_main"
    service = subprocess.Popen([sys.executable, "-m", module, "-p", str(port)])
    try:
        end = time.monotonic() + 120
        while True:
            assert service.poll() is None
            assert time.monotonic() < end
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.5)
        yield f"localhost:{port}"
    finally:
        service.terminate()
        service.wait(30)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_portable_runner_makes_the_same_tables(tmp_path: Path, job_service: str) -> None:
    portable = CONFIG.replace("engine: {signals: beam}", PORTABLE.format(job_service))
    assert "PortableRunner" in portable
    results = []
    for name, config in (("local", CONFIG), ("portable", portable)):
        root = tmp_path / name
        root.mkdir()
        (root / "corpus.yaml").write_text(config)
        for drop in (0, 1):
            deliver(root, drop, seed=1, shards=2)
        results.append(tables(curate(root)))
    local, remote = results
    assert any("'kind': 'image'" in row for row in local["duplicates"])
    for name in TABLES:
        assert remote[name] == local[name], name
