"""Connect to a Ray cluster or start a local one, and check that actors fit on it."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import ray

from embedders.pool import ray_security
from embedders.pool.ray_address import check_address
from store.errors import ClusterError, EncoderError

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
_START_ATTEMPTS = 3
# Smallest and largest object store of a local Ray; a twentieth of the memory between them.
_OBJECT_STORE_BYTES = 512 << 20, 4 << 30


@contextmanager
def cluster(address: str | None = None) -> Iterator[None]:
    """Stay connected to Ray until the block ends. Blocks nest; the outermost one disconnects.

    Args:
        address: of a cluster. None takes the environment variable RAY_ADDRESS; without that, a
            local Ray is started, which only this process can use.

    Raises:
        ClusterError: the cluster cannot be reached or joined.
    """
    if ray.is_initialized():
        yield
        return
    logging.getLogger("ray").setLevel(logging.ERROR)
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    with nullcontext() if address != "local" else ray_security.private_token():
        _start_local() if address == "local" else _join(address)
        try:
            yield
        finally:
            ray.shutdown()


def _join(address: str) -> None:
    check_address(address)
    if not ray_security.has_token():
        print(
            f"warning: joining the Ray cluster at {address} without a token: if it requires one,"
            " set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH; if it does not,"
            " anyone who reaches it can run code on it",
            file=sys.stderr,
        )
    try:
        ray.init(address=address, **_options())
    except Exception as error:  # Ray raises many types
        ray.shutdown()
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ClusterError(f"the Ray cluster at {address} cannot be joined: {reason}") from error


def _start_local() -> None:
    """Start a Ray that only this machine can reach. It joins no cluster of another program."""
    for attempts_left in reversed(range(_START_ATTEMPTS)):
        try:
            with ray_security.on_loopback():
                ray.init(
                    address="local",
                    object_store_memory=_local_object_store_bytes(),
                    _node_ip_address=ray_security.LOOPBACK,
                    **_options(),
                )
            return
        except Exception as error:
            ray.shutdown()
            # Ray gives its own processes 30 s to start, which is too little on a busy machine.
            if not attempts_left or "timed out during startup" not in str(error):
                raise


def _options() -> dict[str, Any]:
    return {
        "include_dashboard": False,
        "log_to_driver": False,
        "logging_level": logging.ERROR,
        "configure_logging": False,
        "runtime_env": {"env_vars": {"PYTHONPATH": python_path()}},
    }


def require_room(actors: int, num_cpus: float, num_gpus: float) -> float:
    """Check that the cluster has room for actors. Without room, Ray would wait forever, silently.

    Args:
        actors: the number of actors.
        num_cpus: CPUs of each.
        num_gpus: GPUs of each, a share of one or a whole number.

    Returns:
        The number of CPUs that are left when all actors run.

    Raises:
        EncoderError: the actors do not fit.
    """
    if num_gpus > 1 and num_gpus != int(num_gpus):
        raise EncoderError(
            f"an actor cannot have {num_gpus:g} GPU: engine.ray.num_gpus is a share of one (0.25)"
            " or a whole number"
        )
    nodes = _nodes()
    room = sum(actor_capacity(node, num_cpus, num_gpus) for node in nodes)
    cpus, gpus = (sum(node.get(name, 0) for node in nodes) for name in ("CPU", "GPU"))
    if room < actors:
        raise EncoderError(
            f"{actors} actors of {num_cpus:g} CPU and {num_gpus:g} GPU each do not fit the cluster,"
            f" which has {cpus:g} CPU and {gpus:g} GPU, room for {room}: lower engine.ray.actors,"
            " num_cpus or num_gpus in corpus.yaml, or join a larger cluster"
        )
    return cpus - actors * num_cpus


def actor_capacity(node: dict[str, float], num_cpus: float, num_gpus: float) -> int:
    """The number of actors that fit on a node.

    Args:
        node: the node's resources, of which `CPU` and `GPU` count.
        num_cpus: CPUs of one actor.
        num_gpus: GPUs of one actor. A share must come from one GPU: it is not split over two.
    """
    cpus, gpus = node.get("CPU", 0), node.get("GPU", 0)
    if num_gpus == 0:
        return _multiples(cpus, num_cpus)
    if num_gpus < 1:
        return min(_multiples(cpus, num_cpus), int(gpus) * _multiples(1, num_gpus))
    return min(_multiples(cpus, num_cpus), _multiples(gpus, num_gpus))


def object_store_bytes() -> int:
    """The capacity of all object stores of the cluster together."""
    return int(sum(node.get("object_store_memory", 0) for node in _nodes()))


def python_path() -> str:
    """The driver's import path. Workers need it to import a user's own encoder."""
    return ":".join(p for p in sys.path if p)


def _multiples(available: float, requested: float) -> int:
    return int((available + 1e-6) / requested)


def _nodes() -> list[dict[str, float]]:
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def _local_object_store_bytes() -> int:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    smallest, largest = _OBJECT_STORE_BYTES
    return min(max(smallest, memory // 20), largest)
