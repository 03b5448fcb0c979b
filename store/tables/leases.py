"""Locks with one holder at a time: file locks in a local folder, leases in an object store.

The kernel frees a file lock if its process dies. Nothing frees an object, so a lease ends by
itself: a thread renews it, and another process may take it over once it is not renewed. Each
holder gets a larger number than the one before. A process that was paused for longer than its
lease must call `check` before it publishes anything.
"""

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from filelock import FileLock, Timeout

from store.errors import BusyError, NotFoundError, StoreError
from store.tables.files import Files

FOLDER = "_locks"
LEASE_SECONDS = 30.0
_CLOCKS_DIFFER = 10.0  # seconds by which the clocks of two machines may differ
_POLL_SECONDS = 0.25


class Lease:
    """A held lease of an object store.

    Attributes:
        number: the fencing number, larger than that of every earlier holder.
    """

    def __init__(self, files: Files, name: str, number: int, tag: str | None):
        self.files, self.name, self.number = files, name, number
        self._token = uuid4().hex
        self._tag = tag
        self._until = 0.0  # by the clock that goes on while the machine sleeps
        self._mutex = threading.Lock()
        self._released = threading.Event()

    @property
    def is_valid(self) -> bool:
        """Whether no other process can have taken the lease over."""
        return time.clock_gettime(time.CLOCK_BOOTTIME) < self._until

    def check(self) -> None:
        """Check that this process still holds the lease; renew it if it has expired.

        Raises:
            BusyError: another process has taken it over.
        """
        if not self.is_valid and not self.renew():
            holder = _read(self.files, self.name)[0].get("holder", "another process")
            raise BusyError(
                f"the lease of {self.name} expired, because this process was paused for longer than"
                f" {LEASE_SECONDS:.0f} s, and {holder} took it over. Nothing was published"
            )

    def renew(self) -> bool:
        """Take or extend the lease; return whether this process holds it now."""
        with self._mutex:
            if self._tag == "":
                return False
            start = time.clock_gettime(time.CLOCK_BOOTTIME)
            tag = self._write(time.time() + LEASE_SECONDS)
            self._tag, self._until = tag or "", start + LEASE_SECONDS if tag else 0.0
            return bool(tag)

    def renew_until_released(self) -> None:
        """The thread that renews the lease."""
        while not self._released.wait(LEASE_SECONDS / 3):
            with suppress(StoreError):  # the next attempt may succeed before the lease expires
                if not self.renew():
                    return

    def release(self) -> str | None:
        """End the lease. The object stays, so that fencing numbers go on.

        Returns:
            Its ETag. None: the lease was lost, or expires by itself.
        """
        self._released.set()
        with self._mutex, suppress(StoreError):
            if self._tag:
                tag, self._tag = self._write(0.0), ""
                return tag
        return None

    def _write(self, expires: float) -> str | None:
        state = {"holder": _holder(), "number": self.number, "expires": expires}
        # The token and a new value each time make the content, and so the ETag, unique.
        data = json.dumps({**state, "token": self._token, "write": uuid4().hex})
        return self.files.replace(_path(self.name), data.encode(), self._tag)


class FileLease:
    """A held file lock. The kernel keeps it while the process lives, so it is always valid."""

    def check(self) -> None:
        """Does nothing."""


class Locks:
    """The locks that one object holds. It can be pickled; the copy holds none.

    Attributes:
        held: the locks by thread and name.
        released: fencing numbers and ETags of the leases that this object held last, by name. One
            that is unchanged is taken with one request.
    """

    def __init__(self, files: Files):
        self.files = files
        self.held: dict[tuple[int, str], Lease | FileLease] = {}
        self.released: dict[str, tuple[int, str]] = {}

    def __reduce__(self) -> tuple[type["Locks"], tuple[Files]]:
        return Locks, (self.files,)

    @contextmanager
    def hold(self, name: str, timeout: float, reenter: bool = True) -> Iterator[None]:
        """Hold a lock during a `with` block.

        Args:
            name: of the lock.
            timeout: how long to wait for the lock, in seconds.
            reenter: whether a thread that holds it already goes on.

        Raises:
            BusyError: another process or thread held the lock for longer than `timeout`, or this
                thread holds it and may not go on.
        """
        key = threading.get_ident(), name
        if key in self.held:
            if not reenter:
                raise _busy(name, "this thread", 0.0)
            yield
            return
        with self._hold(name, timeout) as lease:
            self.held[key] = lease
            try:
                yield
            finally:
                del self.held[key]

    def check(self) -> None:
        """Raise BusyError if one of the locks was lost."""
        for lease in list(self.held.values()):
            lease.check()

    @contextmanager
    def _hold(self, name: str, timeout: float) -> Iterator[Lease | FileLease]:
        if self.files.is_local:
            with _file_lock(Path(self.files.root, FOLDER), name, timeout):
                yield FileLease()
            return
        lease = self._take_again(name) or _acquire(self.files, name, timeout)
        threading.Thread(target=lease.renew_until_released, daemon=True).start()
        try:
            yield lease
        finally:
            if tag := lease.release():
                self.released[name] = lease.number, tag

    def _take_again(self, name: str) -> Lease | None:
        """The lease, if nobody has held it since this object released it."""
        number, tag = self.released.pop(name, (0, ""))
        if not tag:
            return None
        lease = Lease(self.files, name, number + 1, tag)
        return lease if lease.renew() else None


def _acquire(files: Files, name: str, timeout: float) -> Lease:
    deadline = time.monotonic() + timeout
    while True:
        state, tag = _read(files, name)
        expires = float(state.get("expires", 0.0))
        if not expires or time.time() > expires + _CLOCKS_DIFFER:
            lease = Lease(files, name, int(state.get("number", 0)) + 1, tag)
            if lease.renew():
                return lease
        elif time.monotonic() >= deadline:
            raise _busy(name, state.get("holder", "another process"), timeout)
        time.sleep(min(_POLL_SECONDS, max(deadline - time.monotonic(), 0.0)))


def _read(files: Files, name: str) -> tuple[dict, str | None]:
    """The state of a lease and its ETag; empty and None if nobody ever held it."""
    try:
        data, tag = files.read_tagged(_path(name))
    except NotFoundError:
        return {}, None
    try:
        return dict(json.loads(data)), tag
    except ValueError:  # not written by a lease
        return {}, tag


def _path(name: str) -> str:
    return f"{FOLDER}/{name}.json"


@contextmanager
def _file_lock(folder: Path, name: str, timeout: float) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    holder = folder / f"{name}.holder"
    try:
        with FileLock(folder / f"{name}.lock", timeout=timeout):
            holder.write_text(_holder(), encoding="utf-8")
            yield
    except Timeout:
        with suppress(OSError):
            raise _busy(name, holder.read_text(encoding="utf-8"), timeout) from None
        raise _busy(name, "another process", timeout) from None


def _holder() -> str:
    return f"process {os.getpid()} on {socket.gethostname()}"


def _busy(name: str, holder: str, timeout: float) -> BusyError:
    return BusyError(
        f"{name} has been locked by {holder} for {timeout:.0f} s; wait until that run ends, or stop"
        " it"
    )
