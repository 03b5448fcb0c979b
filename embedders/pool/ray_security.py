"""Restricts who can reach Ray: a local cluster is private, a joined one should require a token.

Anyone who reaches an unprotected Ray cluster can run code as its user.
"""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import ray
from ray._private import ray_constants

LOOPBACK = "127.0.0.1"
_MODE = "RAY_AUTH_MODE"
_TOKEN = "RAY_AUTH_TOKEN"
_TOKEN_FILE = "RAY_AUTH_TOKEN_PATH"
_raylet: Any = ray._raylet


@contextmanager
def private_token() -> Iterator[None]:
    """A Ray that is started and used in this block has a token of its own.

    The token exists only in the environment of this process and of Ray's processes. Ray's own
    default is a file in the user's home, which all of the user's clusters share, and RAY_AUTH_MODE
    can turn it off.
    """
    before = {name: os.environ.get(name) for name in (_MODE, _TOKEN, _TOKEN_FILE)}
    os.environ |= {_MODE: "token", _TOKEN: _own_token()}
    os.environ.pop(_TOKEN_FILE, None)
    _read_environment()
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        _read_environment()


@contextmanager
def on_loopback() -> Iterator[None]:
    """A Ray that is started in this block listens on 127.0.0.1 only.

    `_node_ip_address="127.0.0.1"` is not enough: on Linux, Ray replaces it with the address of the
    network interface and then listens on all interfaces. It leaves the address alone where it
    supports one node only, which is what this setting says.
    """
    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


def has_token() -> bool:
    """Whether this process presents a token to a cluster that it joins."""
    mode = os.environ.get(_MODE)
    if mode is not None and mode.lower() != "token":
        return False
    return _raylet.AuthenticationTokenLoader.instance().has_token(ignore_auth_mode=True)


def token_headers() -> dict[str, str]:
    """The headers that present this process's token to a cluster; empty: it presents none."""
    if not has_token():
        return {}
    return _raylet.AuthenticationTokenLoader.instance().get_token_for_http_header()


@cache
def _own_token() -> str:
    return secrets.token_hex(32)


def _read_environment() -> None:
    """Make Ray's C++ part forget the mode and token that it read before."""
    _raylet.Config.initialize("")
    _raylet.AuthenticationTokenLoader.instance().reset_cache()
