"""Connect to a Ray cluster, or start a local one."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import ray

from embedders.pool import ray_security
from embedders.pool.head_watch import watched_head
from embedders.pool.import_path import python_path
from embedders.pool.ray_address import check_address
from embedders.pool.resources import node_resources
from store.errors import ClusterError, first_line

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
# The first error of a stage ends it; without this, Ray prints those of its other tasks too.
os.environ.setdefault("RAY_IGNORE_UNHANDLED_ERRORS", "1")
_START_ATTEMPTS = 5
_kept: list[ExitStack] = []  # of the blocks of `kept_cluster`
# Smallest and largest object store of a local Ray; a twentieth of the memory between them.
_OBJECT_STORE_BYTES = 512 << 20, 4 << 30


@contextmanager
def cluster(address: str | None = None) -> Iterator[None]:
    """Stay connected to Ray until the block ends. Blocks nest; the outermost one disconnects.

    Within `kept_cluster`, that block disconnects.

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
    address = resolved_address(address)
    with ExitStack() as own:
        stack = _kept[-1] if _kept else own
        if address == "local":
            stack.enter_context(ray_security.private_token())
            _start_local()
        else:
            _join(address)
            stack.enter_context(watched_head(address))
        stack.callback(ray.shutdown)
        yield


@contextmanager
def kept_cluster() -> Iterator[None]:
    """A cluster that a block inside connects to stays connected until this block ends.

    Nothing is started for it: work that turns out to be small needs no Ray.
    """
    with ExitStack() as stack:
        _kept.append(stack)
        try:
            yield
        finally:
            _kept.remove(stack)


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
        raise ClusterError(
            f"the Ray cluster at {address} cannot be joined: {first_line(error)}"
        ) from error


def _start_local() -> None:
    """Start a Ray that only this machine can reach. It joins no cluster of another program.

    Raises:
        ClusterError: it does not start.
    """
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
            is_slow = "timed out during startup" in str(error)
            if attempts_left and is_slow:
                continue
            reason = (
                f"its processes needed more than 30 s in each of {_START_ATTEMPTS} attempts:"
                " run again when the machine is less busy"
                if is_slow
                else first_line(error)
            )
            raise ClusterError(f"Ray cannot be started on this machine: {reason}") from error


def _options() -> dict[str, Any]:
    return {
        "include_dashboard": False,
        "log_to_driver": False,
        "logging_level": logging.ERROR,
        "configure_logging": False,
        "runtime_env": {"env_vars": {"PYTHONPATH": python_path()}},
    }


def resolved_address(address: str | None = None) -> str:
    """The address that `cluster` takes: of a cluster, or "local"."""
    return address or os.environ.get("RAY_ADDRESS") or "local"


def cpus() -> int:
    """The CPUs of all nodes of the cluster that have joined, at least one."""
    return max(1, int(ray.cluster_resources().get("CPU", 1)))


def object_store_bytes() -> int:
    """The capacity of all object stores of the cluster together."""
    return int(sum(node.get("object_store_memory", 0) for node in node_resources()))


def _local_object_store_bytes() -> int:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    smallest, largest = _OBJECT_STORE_BYTES
    return min(max(smallest, memory // 20), largest)
