"""Options of an object store, and their translation for Lance and obstore.

Options are given by the names that both libraries know, such as `region`, `endpoint` or
`access_key_id`. A value is a string, or a reference that is resolved where it is used:
`{"env": NAME}` or `{"file": PATH}`. So options can be pickled and printed without their secrets.
What is not given comes from the environment, such as AWS_ACCESS_KEY_ID and AWS_ENDPOINT_URL.
"""

import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from store.errors import ConfigError, MissingPackageError

Options = Mapping[str, str | Mapping[str, str]]

_CLIENT = ("allow_http", "connect_timeout", "proxy_url", "timeout")  # of obstore's HTTP client
_CREDENTIALS_LAST = timedelta(minutes=15)


def lance_options(root: str, options: Options) -> dict[str, str] | None:
    """The `storage_options` of Lance; None for a local folder.

    Raises:
        ConfigError: a reference cannot be resolved.
    """
    if "://" not in root:
        return None
    resolved = _resolved(options)
    profile = resolved.pop("profile", None) or _profile_of_environment(root, resolved)
    return resolved if profile is None else {**resolved, **_credentials(profile)}


def obstore_options(root: str, options: Options) -> dict[str, Any]:
    """The arguments of a store of `obstore.store`.

    Raises:
        ConfigError: a reference cannot be resolved.
    """
    resolved = _resolved(options)
    profile = resolved.pop("profile", None) or _profile_of_environment(root, resolved)
    client: dict[str, Any] = {n: resolved.pop(n) for n in _CLIENT if n in resolved}
    if "allow_http" in client:
        client["allow_http"] = client["allow_http"].lower() == "true"
    arguments = {"config": resolved, "client_options": client}
    return arguments | ({"credential_provider": _provider(profile)} if profile else {})


def options_for(root: str, other_root: str, other: Options) -> Options:
    """The options of a second address: those of `other_root` if both are in one kind of store."""
    scheme, separator, _ = root.partition("://")
    return other if separator and other_root.startswith(f"{scheme}://") else {}


def _resolved(options: Options) -> dict[str, str]:
    return {name: _value(name, value) for name, value in options.items()}


def _value(name: str, value: str | Mapping[str, str]) -> str:
    if isinstance(value, str):
        return value
    if "env" in value:
        if (variable := os.environ.get(value["env"])) is None:
            raise ConfigError(
                f"tables.options.{name}: the environment variable {value['env']} is not set. It is"
                " needed on every machine that reads or writes the tables"
            )
        return variable
    try:
        return Path(value["file"]).expanduser().read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ConfigError(
            f"tables.options.{name}: {value['file']} cannot be read: {error.strerror or error}"
        ) from error


def _profile_of_environment(root: str, resolved: Mapping[str, str]) -> str | None:
    """The profile that AWS_PROFILE names, unless there are keys. obstore does not read it."""
    has_keys = "access_key_id" in resolved or "AWS_ACCESS_KEY_ID" in os.environ
    return None if has_keys or not root.startswith("s3://") else os.environ.get("AWS_PROFILE")


def _credentials(profile: str) -> dict[str, str]:
    """The current credentials of a profile of AWS's configuration files."""
    try:
        from botocore.exceptions import BotoCoreError
        from botocore.session import Session
    except ImportError as error:
        raise MissingPackageError(
            "profiles need the package botocore: pip install 'isotrope[s3]'"
        ) from error
    try:
        keys = Session(profile=profile).get_credentials()
        frozen = keys and keys.get_frozen_credentials()
    except BotoCoreError as error:
        raise ConfigError(f"tables.options.profile: {error}") from error
    if not frozen:
        raise ConfigError(f"tables.options.profile: the profile {profile!r} has no credentials")
    token = {"token": frozen.token} if frozen.token else {}
    return {"access_key_id": frozen.access_key, "secret_access_key": frozen.secret_key, **token}


def _provider(profile: str) -> Callable[[], dict[str, Any]]:
    """A credential provider of obstore, which asks for new credentials before they expire."""
    _credentials(profile)  # raises here, and not within obstore
    return lambda: {
        "token": None,
        **_credentials(profile),
        "expires_at": datetime.now(UTC) + _CREDENTIALS_LAST,
    }
