"""Ray: joining a cluster, or starting a local one, for as long as it is needed."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

import ray

from embedders.spaces import python_path
from store.errors import EncoderError

_OBJECT_STORE_BYTES = 512 << 20


@contextmanager
def cluster(address: str | None = None) -> Iterator[None]:
    """Be connected to Ray until the block ends; blocks nest, the outermost one disconnects.

    Args:
        address: a cluster's address; RAY_ADDRESS where there is none; else Ray starts here.
    """
    if ray.is_initialized():
        yield
        return
    logging.getLogger("ray").setLevel(logging.ERROR)
    where = address or os.environ.get("RAY_ADDRESS")
    local: dict = {} if where else {"object_store_memory": _OBJECT_STORE_BYTES}
    ray.init(
        address=where,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        configure_logging=False,
        runtime_env={"env_vars": {"PYTHONPATH": python_path()}},
        **local,
    )
    try:
        yield
    finally:
        ray.shutdown()


def require(actors: int, num_cpus: float, num_gpus: float) -> float:
    """The CPUs that are left once the actors have theirs.

    Raises EncoderError where the actors do not fit: Ray would wait for room without a word.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    room = sum(_room(node, num_cpus, num_gpus) for node in nodes)
    cpus, gpus = (sum(node.get(name, 0) for node in nodes) for name in ("CPU", "GPU"))
    if room < actors:
        raise EncoderError(
            f"{actors} actors of {num_cpus:g} CPU and {num_gpus:g} GPU each do not fit the cluster,"
            f" which has {cpus:g} CPU and {gpus:g} GPU, room for {room}: lower engine.ray.actors,"
            " num_cpus or num_gpus in corpus.yaml, or join a larger cluster"
        )
    return cpus - actors * num_cpus


def _room(node: dict[str, float], num_cpus: float, num_gpus: float) -> int:
    asked = [(name, n) for name, n in (("CPU", num_cpus), ("GPU", num_gpus)) if n > 0]
    return min(int((node.get(name, 0) + 1e-6) / n) for name, n in asked)
