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


def require(num_cpus: float, num_gpus: float) -> None:
    """Raise EncoderError where the cluster has not what an actor asks for: Ray would wait for it
    without a word."""
    has = ray.cluster_resources()
    for name, wanted in (("CPU", num_cpus), ("GPU", num_gpus)):
        if wanted > has.get(name, 0):
            raise EncoderError(
                f"an actor asks for {wanted:g} {name}, the cluster has {has.get(name, 0):g}:"
                f" lower engine.ray.num_{name.lower()}s in corpus.yaml, or join a larger cluster"
            )
