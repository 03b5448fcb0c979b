"""Check that a Ray cluster answers at an address and accepts this process, before Ray joins it.

Ray itself tries for 20 to 120 seconds, prints pages of logs, and does not say what was wrong.
"""

import socket
from urllib.parse import urlsplit

import grpc

from embedders.pool.ray_security import token_headers
from store.errors import ClusterError

_SECONDS = 10
# Cheap calls that need the token: of a cluster's head, and of its port for Ray's client.
_HEAD_CALL = "/ray.rpc.NodeInfoGcsService/CheckAlive"
_CLIENT_CALL = "/ray.rpc.RayletDriver/ClusterInfo"


def check_address(address: str) -> None:
    """Check that the cluster at `host:port` or `ray://host:port` can be joined.

    Other forms, such as `auto`, are not checked.

    Raises:
        ClusterError: the address is not valid, nothing answers, or the token is refused.
    """
    try:
        url = urlsplit(address if "://" in address else f"//{address}")
        host, port = url.hostname, url.port
    except ValueError as error:
        raise ClusterError(f"{address!r} is not the address of a Ray cluster: {error}") from None
    if not host or not port:
        return
    try:
        socket.create_connection((host, port), timeout=_SECONDS).close()
    except OSError as error:
        raise ClusterError(
            f"no Ray cluster answers at {address}: {error.strerror or error}; check"
            " engine.ray.address in corpus.yaml, or RAY_ADDRESS"
        ) from error
    _check_token(address, f"{host}:{port}", _CLIENT_CALL if url.scheme == "ray" else _HEAD_CALL)


def _check_token(address: str, target: str, call: str) -> None:
    headers = token_headers()
    metadata = [(name.lower(), value) for name, value in headers.items()]
    with grpc.insecure_channel(target) as channel:
        try:
            channel.unary_unary(call)(b"", timeout=_SECONDS, metadata=metadata)
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.UNAUTHENTICATED:
                state = "refuses the token of this process" if headers else "needs a token"
                raise ClusterError(
                    f"the Ray cluster at {address} {state}: set RAY_AUTH_MODE=token, and"
                    " RAY_AUTH_TOKEN to the token of the cluster"
                ) from None
            if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                raise ClusterError(
                    f"what answers at {address} is no Ray cluster: check engine.ray.address in"
                    " corpus.yaml, or RAY_ADDRESS"
                ) from None
