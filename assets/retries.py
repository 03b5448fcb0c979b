"""Whether a stage that failed is tried again: only after errors that pass by themselves."""

from collections.abc import Iterator

import dagster as dg
from obstore.exceptions import PermissionDeniedError, UnauthenticatedError

from store.errors import BusyError, ClusterError, StoreError

MAX_RETRIES = 3
_FIRST_SECONDS = 10
_FACTOR = 3
_TRANSIENT = (BusyError, ClusterError, StoreError)
# By name: Ray is imported by the stages that use it only.
_TRANSIENT_OF_RAY = {"NodeDiedError", "ObjectLostError", "OwnerDiedError", "RaySystemError"}
_PERMANENT = (PermissionDeniedError, UnauthenticatedError, FileNotFoundError)


def is_transient(error: BaseException) -> bool:
    """Whether an error may pass by itself.

    These are: a lock that another run holds, a cluster that cannot be reached, a lost node, or
    an object store that does not answer or is throttled. Refused credentials and a missing bucket
    are not among them.
    """
    chain = list(_chain(error))
    if any(isinstance(each, _PERMANENT) for each in chain):
        return False
    return any(
        isinstance(each, _TRANSIENT) or type(each).__name__ in _TRANSIENT_OF_RAY for each in chain
    )


def retry(attempt: int) -> dg.RetryRequested:
    """What an asset raises to be tried again: after 10, 30 and 90 seconds.

    Args:
        attempt: how often the stage was tried again already.
    """
    return dg.RetryRequested(MAX_RETRIES, _FIRST_SECONDS * _FACTOR**attempt)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error and its causes."""
    while error is not None:
        yield error
        error = error.__cause__
