"""Fetches Debian packages with apt and unpacks them, without root."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from store.errors import SourceError

_TIMEOUT = 900


def fetch(package: str, cache: Path, progress: Callable[[str], None]) -> Path:
    """Fetch a package from the machine's Debian mirror, unless it is in `cache` already.

    Args:
        package: the package's name.
        cache: where the .deb is kept.
        progress: called with messages.

    Returns:
        The path of the .deb.

    Raises:
        SourceError: apt is not installed, or cannot fetch the package.
    """
    cached = sorted(cache.glob(f"{package}_*.deb"))
    if cached:
        return cached[-1]
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise SourceError(
                f"{tool} is not installed; it is needed to fetch {package}, a package of Debian"
            )
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".apt-", dir=cache) as scratch:
        progress(f"Downloading {package}")
        try:
            _apt(["download", package], scratch)
        except SourceError:
            # The machine has no list of packages, or an old one. A list in a folder of our own
            # needs no root and leaves the machine's list as it is.
            progress("Fetching the list of packages first")
            lists = Path(scratch, "lists")
            (lists / "partial").mkdir(parents=True)
            own = [f"-oDir::State::Lists={lists}", f"-oDir::Cache={scratch}"]
            if os.geteuid() == 0:
                own.append("-oAPT::Sandbox::User=root")
            _apt([*own, "update"], scratch)
            _apt([*own, "download", package], scratch)
        files = sorted(Path(scratch).glob(f"{package}_*.deb"))
        if not files:
            raise SourceError(f"apt-get download {package} wrote no file")
        return Path(shutil.move(files[0], cache / files[0].name))


@contextmanager
def unpacked(package: Path, cache: Path) -> Iterator[Path]:
    """Unpack a package into a temporary folder inside `cache`, which is removed afterwards.

    Raises:
        SourceError: the package is broken. It is removed, so that it is fetched again next time.
    """
    with tempfile.TemporaryDirectory(prefix=".unpacked-", dir=cache) as scratch:
        try:
            _run(["dpkg-deb", "--extract", str(package), scratch], scratch)
        except SourceError:
            package.unlink(missing_ok=True)
            raise
        yield Path(scratch)


def _apt(arguments: list[str], folder: str) -> None:
    timeouts = [f"-oAcquire::{protocol}::Timeout=20" for protocol in ("http", "https")]
    options = ["--quiet", "--quiet", "-oAcquire::Retries=1", *timeouts]
    _run(["apt-get", *options, *arguments], folder)


def _run(command: list[str], folder: str) -> None:
    name = " ".join(word for word in command if not word.startswith("-"))
    try:
        result = subprocess.run(
            command,
            cwd=folder,
            env=os.environ | {"LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SourceError(f"{name}: {error}") from error
    if result.returncode:
        errors = [line for line in result.stderr.splitlines() if line.startswith("E:")]
        raise SourceError(f"{name}: {'; '.join(errors) or result.stderr.strip()[-300:]}")
