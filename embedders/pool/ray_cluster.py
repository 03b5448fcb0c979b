"""Ray: joining a cluster, or starting a local one, for as long as it is needed."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import ray

from store.errors import EncoderError

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
_STARTS = 3
_OBJECT_STORE_BYTES = 512 << 20, 4 << 30  # least and most; a twentieth of memory between them


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
    local: dict = {} if where else {"object_store_memory": _local_object_store()}
    for left in reversed(range(_STARTS)):
        try:
            ray.init(
                address=where,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                configure_logging=False,
                runtime_env={"env_vars": {"PYTHONPATH": python_path()}},
                **local,
            )
            break
        except Exception as error:
            ray.shutdown()
            # Ray gives its own processes half a minute, too little on a machine that is busy.
            if where or not left or "timed out during startup" not in str(error):
                raise
    try:
        yield
    finally:
        ray.shutdown()


def require(actors: int, num_cpus: float, num_gpus: float) -> float:
    """The CPUs that are left once the actors have theirs.

    Raises EncoderError where the actors do not fit: Ray would wait for room without a word.
    """
    if num_gpus > 1 and num_gpus != int(num_gpus):
        raise EncoderError(
            f"an actor cannot have {num_gpus:g} GPU: engine.ray.num_gpus is a share of one (0.25)"
            " or a whole number"
        )
    nodes = _nodes()
    room = sum(room_on(node, num_cpus, num_gpus) for node in nodes)
    cpus, gpus = (sum(node.get(name, 0) for node in nodes) for name in ("CPU", "GPU"))
    if room < actors:
        raise EncoderError(
            f"{actors} actors of {num_cpus:g} CPU and {num_gpus:g} GPU each do not fit the cluster,"
            f" which has {cpus:g} CPU and {gpus:g} GPU, room for {room}: lower engine.ray.actors,"
            " num_cpus or num_gpus in corpus.yaml, or join a larger cluster"
        )
    return cpus - actors * num_cpus


def room_on(node: dict[str, float], num_cpus: float, num_gpus: float) -> int:
    """How many actors a node of so many CPU and GPU takes; an actor's share is of one GPU."""
    cpus, gpus = node.get("CPU", 0), node.get("GPU", 0)
    if num_gpus == 0:
        return _times(cpus, num_cpus)
    if num_gpus < 1:
        return min(_times(cpus, num_cpus), int(gpus) * _times(1, num_gpus))
    return min(_times(cpus, num_cpus), _times(gpus, num_gpus))


def object_store_bytes() -> int:
    """What the cluster's object stores hold in all."""
    return int(sum(node.get("object_store_memory", 0) for node in _nodes()))


def _times(there: float, asked: float) -> int:
    return int((there + 1e-6) / asked)


def _nodes() -> list[dict[str, float]]:
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def _local_object_store() -> int:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    least, most = _OBJECT_STORE_BYTES
    return min(max(least, memory // 20), most)


def python_path() -> str:
    """The driver's import path, for workers that must import a user's own encoder."""
    return ":".join(p for p in sys.path if p)
