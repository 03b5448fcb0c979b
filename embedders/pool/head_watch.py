"""Say that the head of a Ray cluster is lost, before Ray ends this process because of it."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from embedders.pool.ray_address import check_address
from store.errors import ClusterError

_SECONDS_BETWEEN_CHECKS = 5
_FAILURES = 2  # in succession: one can be a moment of high load


@contextmanager
def watched_head(address: str) -> Iterator[None]:
    """Print a warning to standard error if the head at an address no longer answers.

    Ray's C++ code ends a driver whose head is lost for 60 seconds (RAY_gcs_rpc_server_reconnect_
    timeout_s), with status 1 and pages of its own log. No exception is raised that could be caught.
    """
    ended = threading.Event()
    watch = threading.Thread(target=_watch, args=(address, ended), name="head-watch", daemon=True)
    watch.start()
    try:
        yield
    finally:
        ended.set()
        watch.join()


def _watch(address: str, ended: threading.Event) -> None:
    failures = 0
    while not ended.wait(_SECONDS_BETWEEN_CHECKS):
        try:
            check_address(address)
        except ClusterError as error:
            failures += 1
            if failures == _FAILURES:
                print(_warning(error), file=sys.stderr, flush=True)
        else:
            failures = 0


def _warning(error: ClusterError) -> str:
    return (
        f"warning: the head of the Ray cluster is lost ({error}). Ray ends this process if the head"
        " does not return within 60 seconds. What is finished is kept: run the same command again"
        " when a cluster is up."
    )
