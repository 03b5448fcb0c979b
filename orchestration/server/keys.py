"""API keys of the server: made once, stored as hashes, compared in constant time.

A key has 256 random bits, so a plain SHA-256 of it cannot be guessed back. The file is JSON:

    {"keys": [{"name": "reports", "sha256": "...", "created_at": "2026-01-31T12:00:00+00:00"}]}
"""

import hashlib
import hmac
import json
import os
import secrets
import tempfile
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from store.errors import ConfigError, InputError, NotFoundError

_PREFIX = "isotrope_"
_MAX_NAME = 100  # characters


@dataclass(frozen=True)
class Key:
    """One stored key: its name, the SHA-256 of the key in hex, and when it was made."""

    name: str
    sha256: str
    created_at: str


class KeyFile:
    """The file of hashed keys. It is read again when it has changed.

    Args:
        path: of the file. It need not exist.
    """

    def __init__(self, path: Path):
        self.path = path
        self._keys: tuple[Key, ...] = ()
        self._stamp: tuple[int, int, int] | None = None

    @property
    def keys(self) -> tuple[Key, ...]:
        """The stored keys as of the last `refresh`."""
        return self._keys

    def refresh(self) -> None:
        """Read the file if it has changed.

        Raises:
            ConfigError: the file is not valid. The keys that were read before stay in force.
        """
        try:
            status = self.path.stat()
        except FileNotFoundError:
            self._keys, self._stamp = (), None
            return
        stamp = (status.st_ino, status.st_mtime_ns, status.st_size)
        if stamp == self._stamp:
            return
        try:
            rows = json.loads(self.path.read_bytes())["keys"]
            keys = tuple(Key(**row) for row in rows)
            if any(len(bytes.fromhex(key.sha256)) != hashlib.sha256().digest_size for key in keys):
                raise ValueError("a sha256 has another length")
        except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
            raise ConfigError(
                f"{self.path} is not a file of keys ({error}); `isotrope serve --new-key NAME`"
                " writes one"
            ) from error
        self._keys, self._stamp = keys, stamp

    def name_of(self, secret: str) -> str | None:
        """The name of a key, or None if it is not stored. Takes the same time for every key."""
        digest = _digest(secret)
        name = None
        for key in self._keys:
            if hmac.compare_digest(key.sha256, digest):
                name = key.name
        return name

    def create(self, name: str) -> str:
        """Make a key, store its hash, and return the key. It cannot be read again later.

        Raises:
            InputError: the name is empty, too long or in use.
        """
        self.refresh()
        if not name.isprintable() or not 0 < len(name) <= _MAX_NAME:
            raise InputError(f"the name of a key has 1 to {_MAX_NAME} printable characters")
        if any(key.name == name for key in self._keys):
            raise InputError(f"there is a key {name!r} already; --revoke-key {name} deletes it")
        secret = _PREFIX + secrets.token_urlsafe(32)
        created = datetime.now(UTC).isoformat(timespec="seconds")
        self._write([*self._keys, Key(name, _digest(secret), created)])
        return secret

    def revoke(self, name: str) -> None:
        """Delete a key. A running server refuses it within `reload_seconds`.

        Raises:
            NotFoundError: there is no such key.
        """
        self.refresh()
        kept = [key for key in self._keys if key.name != name]
        if len(kept) == len(self._keys):
            names = ", ".join(key.name for key in self._keys) or "none"
            raise NotFoundError(f"there is no key {name!r}; keys: {names}")
        self._write(kept)

    def _write(self, keys: list[Key]) -> None:
        """Replace the file, so that a reader sees the old or the new one. Mode 0600."""
        text = json.dumps({"keys": [asdict(key) for key in keys]}, indent=2) + "\n"
        descriptor, temporary = tempfile.mkstemp(dir=self.path.parent, prefix=".keys-")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
            os.replace(temporary, self.path)
        except OSError:
            os.unlink(temporary)
            raise
        self._stamp = None
        self.refresh()


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
