"""A Ray cluster of several real nodes on this machine, which needs a token."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

import psutil

from tests.helpers.deployment import ROOT, wait_until
from tests.helpers.postgres import free_port

T = TypeVar("T")


@dataclass
class Nodes:
    """The nodes of a cluster, each a process group of `ray start`.

    Attributes:
        port: of the head.
        dashboard: the port of the head's dashboard, which takes jobs. None: it has none.
        object_store: the bytes of a node's object store.
        processes: those that were started.
    """

    port: int
    dashboard: int | None = None
    object_store: int = 300_000_000
    processes: list[subprocess.Popen] = field(default_factory=list)

    @property
    def address(self) -> str:
        """The address of the head."""
        return f"127.0.0.1:{self.port}"

    @property
    def variables(self) -> dict[str, str]:
        """What a process needs in its environment to join."""
        return {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": "a" * 64,
            "RAY_ADDRESS": self.address,
        }

    def _start(self, *options: str) -> subprocess.Popen:
        ray = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block"]
        memory = f"--object-store-memory={self.object_store}"
        # Ray gives up if a node needs more than 30 seconds to start, so a slow machine tries again.
        node = subprocess.Popen(
            ["sh", "-c", 'until "$@"; do sleep 1; done', "sh", *ray, memory, *options],
            env=os.environ | self.variables,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        self.processes.append(node)
        return node

    def head(self) -> subprocess.Popen:
        """Start a head that does no work, and wait until it accepts the token."""
        dashboard = f"--include-dashboard={str(self.dashboard is not None).lower()}"
        options = [f"--port={self.port}", "--num-cpus=0", dashboard]
        if self.dashboard is not None:
            options += ["--dashboard-host=127.0.0.1", f"--dashboard-port={self.dashboard}"]
        node = self._start("--head", *options)
        module = "embedders.pool.ray_address"
        script = f"from {module} import check_address; check_address({self.address!r})"
        wait_until(lambda: not self.run("-c", script).wait(), 300)
        return node

    def worker(self, cpus: int = 2) -> subprocess.Popen:
        """Start a node of so many CPUs; it joins the cluster within seconds."""
        return self._start(f"--address={self.address}", f"--num-cpus={cpus}")

    def wait_for_cpus(self, count: int) -> None:
        """Wait until nodes with so many CPUs have joined."""
        script = (
            "import ray, sys; ray.init(logging_level='ERROR', log_to_driver=False);"
            f"sys.exit(ray.cluster_resources().get('CPU', 0) < {count})"
        )
        wait_until(lambda: not self.run("-c", script).wait(), 300)

    def actors(self) -> set[int]:
        """The ids of the nodes' processes that hold an actor, whose title names its class."""
        holders = set()
        for node in self.processes:
            with suppress(psutil.Error):  # it has just ended
                for process in psutil.Process(node.pid).children(recursive=True):
                    with suppress(psutil.Error):
                        title = "".join(process.cmdline()[:1])
                        if title.startswith("ray::") and "Actor" in title:
                            holders.add(process.pid)
        return holders

    def run(self, *words: str) -> subprocess.Popen:
        """Start Python with these arguments, as a driver of the cluster."""
        return subprocess.Popen(
            [sys.executable, *words],
            cwd=ROOT,
            env=os.environ | self.variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def result(self, *words: str) -> Any:
        """What a run of Python with these arguments prints on its last line, as JSON.

        Raises:
            SystemExit: it failed; what it wrote to stderr.
        """
        process = self.run(*words)
        out, err = process.communicate()
        if process.returncode:
            raise SystemExit(err)
        return json.loads(out.splitlines()[-1])


def kill(node: subprocess.Popen) -> None:
    """End a node and all of its processes at once, as when its machine is lost."""
    with suppress(ProcessLookupError):
        os.killpg(node.pid, signal.SIGKILL)
    node.wait()


def on_one_node_and_two(run: Callable[[Nodes], T], object_store: int) -> tuple[T, T]:
    """What a function returns on a cluster of one node of one CPU, and then of two.

    Args:
        run: the function.
        object_store: the bytes of a node's object store.
    """
    with ray_nodes(object_store=object_store) as nodes:
        nodes.worker(1)
        nodes.wait_for_cpus(1)
        one = run(nodes)
        nodes.worker(1)
        nodes.wait_for_cpus(2)
        return one, run(nodes)


@contextmanager
def ray_nodes(dashboard: bool = False, object_store: int = Nodes.object_store) -> Iterator[Nodes]:
    """A cluster with a head. Its nodes end with the `with` block."""
    nodes = Nodes(free_port(), free_port() if dashboard else None, object_store)
    try:
        nodes.head()
        yield nodes
    finally:
        for node in nodes.processes:
            kill(node)
