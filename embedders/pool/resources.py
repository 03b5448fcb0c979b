"""What an actor or a task reserves of a Ray cluster, and whether a cluster has room for it."""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ray

from store.errors import EncoderError

_POLL_SECONDS = 2.0
_SAY_SECONDS = 30.0


@dataclass(frozen=True)
class Resources:
    """What one actor or task reserves.

    Attributes:
        num_cpus: CPUs.
        num_gpus: a share of one GPU, which is not split over two, or a whole number of GPUs.
        accelerator_type: only GPUs of this kind, as Ray names it, such as A100. None: any.
        memory: bytes. None: none are reserved.
    """

    num_cpus: float = 1
    num_gpus: float = 0
    accelerator_type: str | None = None
    memory: int | None = None

    def __post_init__(self) -> None:
        if self.num_gpus > 1 and self.num_gpus != int(self.num_gpus):
            raise EncoderError(
                f"an actor cannot have {self.num_gpus:g} GPU: engine.ray.num_gpus is a share of one"
                " (0.25) or a whole number"
            )

    def __str__(self) -> str:
        kind = f" {self.accelerator_type}" if self.accelerator_type else ""
        memory = f" and {self.memory / 2**30:.3g} GiB" if self.memory else ""
        return f"{self.num_cpus:g} CPU and {self.num_gpus:g}{kind} GPU{memory}"

    def options(self) -> dict[str, Any]:
        """The arguments of Ray's `options`."""
        options: dict[str, Any] = {
            "num_cpus": self.num_cpus,
            "num_gpus": self.num_gpus,
            "memory": self.memory,
        }
        if self.accelerator_type:
            options["accelerator_type"] = self.accelerator_type
        return options

    def capacity(self, node: dict[str, float]) -> int:
        """How many of these fit on a node with these resources."""
        if self.accelerator_type and f"accelerator_type:{self.accelerator_type}" not in node:
            return 0
        rooms = [_multiples(node.get("CPU", 0), self.num_cpus)]
        gpus = node.get("GPU", 0)
        if 0 < self.num_gpus < 1:
            rooms.append(int(gpus) * _multiples(1, self.num_gpus))
        elif self.num_gpus:
            rooms.append(_multiples(gpus, self.num_gpus))
        if self.memory:
            rooms.append(_multiples(node.get("memory", 0), self.memory))
        return min(rooms)


def require_room(count: int, each: Resources, wait_seconds: float = 0) -> float:
    """Check that the cluster has room. Without room, Ray would wait forever, silently.

    Args:
        count: of actors or tasks.
        each: what each reserves.
        wait_seconds: how long to wait for nodes. A cluster that scales is requested to add them.

    Returns:
        The number of CPUs of the cluster.

    Raises:
        EncoderError: they do not fit, or still do not when the time is over.
    """
    if _room(each) < count and wait_seconds:
        _wait(lambda: _room(each) >= count, count, each, wait_seconds)
    nodes = node_resources()
    cpus, gpus = (sum(node.get(name, 0) for node in nodes) for name in ("CPU", "GPU"))
    if (room := _room(each)) < count:
        waited = f" after {wait_seconds:g} seconds" if wait_seconds else ""
        raise EncoderError(
            f"{count} actors of {each} each do not fit the cluster, which has {cpus:g} CPU and"
            f" {gpus:g} GPU{waited}, room for {room}: lower engine.ray.actors, num_cpus or num_gpus"
            " in corpus.yaml, raise engine.ray.wait_seconds, or join a larger cluster"
        )
    return cpus


def node_resources() -> list[dict[str, float]]:
    """The resources of each node that is alive."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def _room(each: Resources) -> int:
    return sum(each.capacity(node) for node in node_resources())


def _wait(has_room: Callable[[], bool], count: int, each: Resources, seconds: float) -> None:
    """Wait for nodes, and say so. The request for nodes is withdrawn at the end."""
    from ray.autoscaler.sdk import request_resources

    bundle = {"CPU": each.num_cpus, "GPU": each.num_gpus, "memory": each.memory or 0}
    request_resources(bundles=[{k: v for k, v in bundle.items() if v}] * count)
    start, last_message = time.monotonic(), -_SAY_SECONDS
    try:
        while not has_room() and (waited := time.monotonic() - start) < seconds:
            if waited - last_message >= _SAY_SECONDS:
                last_message = waited
                print(
                    f"waiting for {count} times {each}: {waited:.0f} of {seconds:.0f} seconds",
                    file=sys.stderr,
                    flush=True,
                )
            time.sleep(_POLL_SECONDS)
    finally:
        request_resources(bundles=[])


def _multiples(available: float, requested: float) -> int:
    return int((available + 1e-6) / requested)
