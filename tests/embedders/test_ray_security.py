"""Local Ray is private: loopback, and a token of its own. Clusters are joined with plain errors."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from embedders.pool import ray_security
from embedders.pool.ray_address import check_address
from embedders.pool.ray_cluster import cluster
from store.errors import ClusterError
from tests.helpers.postgres import free_port

ROOT = Path(__file__).resolve().parents[2]

# Every listening socket of the driver and of Ray's processes, by an own cluster that runs a task.
LISTENING = """
import os
import ray
import psutil  # Ray's own copy
from embedders.pool.ray_cluster import cluster

before = {name: os.environ.get(name) for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN")}
with cluster():
    @ray.remote
    def environment():
        return os.environ.get("RAY_AUTH_MODE"), os.environ.get("RAY_AUTH_TOKEN")

    mode, token = ray.get(environment.remote())
    assert mode == "token", mode
    assert len(token) == 64
    assert token == os.environ["RAY_AUTH_TOKEN"]
    driver = psutil.Process()
    addresses = [
        connection.laddr.ip
        for process in (driver, *driver.children(recursive=True))
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    print(*addresses)
assert before == {name: os.environ.get(name) for name in before}
"""


@pytest.mark.slow
def test_a_local_cluster_listens_on_loopback_and_wants_its_own_token() -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    environment["RAY_AUTH_MODE"] = "disabled"  # counts for clusters that are joined
    result = subprocess.run(
        [sys.executable, "-c", LISTENING],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    addresses = result.stdout.split()
    assert len(addresses) >= 5  # the driver, GCS, raylet, its agents and a worker
    assert {a.removeprefix("::ffff:") for a in addresses} == {"127.0.0.1"}


def test_an_address_where_nothing_listens_is_refused_at_once() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for address in (f"127.0.0.1:{port}", f"ray://127.0.0.1:{port}"):
        with pytest.raises(ClusterError, match=f"no Ray cluster answers at {address}: Connection"):
            check_address(address)
    with pytest.raises(ClusterError, match="is not the address of a Ray cluster"):
        check_address("127.0.0.1:ray")
    check_address("auto")


def test_joining_without_a_token_takes_one_line(monkeypatch, capsys, tmp_path: Path) -> None:
    import ray

    def fail(**_: object) -> None:
        raise ConnectionError("Failed to connect\nand a long explanation")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", fail)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    monkeypatch.setattr(ray_security, "has_token", lambda: False)
    with (
        pytest.raises(ClusterError, match=r"auto cannot be joined: Failed to connect$"),
        cluster("auto"),
    ):
        pass
    (warning,) = capsys.readouterr().err.splitlines()
    assert "without a token" in warning
    assert "RAY_AUTH_MODE=token" in warning


@pytest.mark.slow
def test_a_cluster_that_refuses_the_token_is_one_line_at_once(monkeypatch) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "a" * 64)
    port, client_port = free_port(), free_port()
    ray = [sys.executable, "-m", "ray.scripts.scripts"]
    options = ["--num-cpus=1", "--include-dashboard=false", "--min-worker-port=0"]
    ports = [f"--port={port}", f"--ray-client-server-port={client_port}", "--max-worker-port=0"]
    head = subprocess.Popen([*ray, "start", "--head", "--block", *ports, *options])
    try:
        for address in (f"127.0.0.1:{port}", f"ray://127.0.0.1:{client_port}"):
            # In processes of their own: this one may hold the token of the tests' own cluster.
            subprocess.run([sys.executable, "-c", ANSWERS, address], cwd=ROOT, check=True)
            refuses = [sys.executable, "-c", REFUSES, address]
            for token in ("b" * 64, ""):
                environment = os.environ | {"RAY_AUTH_TOKEN": token, "HOME": "/nonexistent"}
                if not token:
                    del environment["RAY_AUTH_MODE"], environment["RAY_AUTH_TOKEN"]
                result = subprocess.run(
                    refuses, cwd=ROOT, env=environment, capture_output=True, text=True, check=True
                )
                expected = "refuses the token" if token else "needs a token"
                assert expected in result.stdout, result.stderr
                assert len(result.stdout.splitlines()) == 1
    finally:
        head.terminate()
        head.wait(60)


ANSWERS = """
import sys
import time
from embedders.pool.ray_address import check_address
from store.errors import ClusterError
end = time.monotonic() + 120
while True:
    try:
        check_address(sys.argv[1])
        break
    except ClusterError:
        if time.monotonic() > end:
            raise
        time.sleep(0.5)
"""
REFUSES = """
import sys
import time
from embedders.pool.ray_cluster import cluster
from store.errors import ClusterError
started = time.monotonic()
try:
    with cluster(sys.argv[1]):
        pass
except ClusterError as error:
    assert time.monotonic() - started < 15  # Ray alone tries for 20 to 30 seconds
    print(error)
"""
