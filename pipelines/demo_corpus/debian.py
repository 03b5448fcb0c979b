"""Debian packages: fetched with apt and unpacked, without root."""

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
    """The .deb, from `cache` or from the machine's Debian mirror; needs no root.

    Raises SourceError where there is no apt, or it cannot get the package.
    """
    kept = sorted(cache.glob(f"{package}_*.deb"))
    if kept:
        return kept[-1]
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise SourceError(f"{tool} is not there: {package} is a package of Debian and Ubuntu")
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".apt-", dir=cache) as scratch:
        progress(f"Downloading {package}")
        try:
            _apt(["download", package], scratch)
        except SourceError:
            # No list of packages, or one that is out of date: we take our own and leave the
            # machine's as it is, which needs no root either.
            progress("Fetching the list of packages first")
            lists = Path(scratch, "lists")
            (lists / "partial").mkdir(parents=True)
            own = [f"-oDir::State::Lists={lists}", f"-oDir::Cache={scratch}"]
            if os.geteuid() == 0:
                own.append("-oAPT::Sandbox::User=root")
            _apt([*own, "update"], scratch)
            _apt([*own, "download", package], scratch)
        found = sorted(Path(scratch).glob(f"{package}_*.deb"))
        if not found:
            raise SourceError(f"apt-get download {package} left no file")
        return Path(shutil.move(found[0], cache / found[0].name))


@contextmanager
def unpacked(package: Path, cache: Path) -> Iterator[Path]:
    """The package's files beneath a folder, for as long as the block lasts.

    Raises SourceError where the package is broken; it is removed then, to be fetched anew.
    """
    with tempfile.TemporaryDirectory(prefix=".unpacked-", dir=cache) as scratch:
        try:
            _run(["dpkg-deb", "--extract", str(package), scratch], scratch)
        except SourceError:
            package.unlink(missing_ok=True)
            raise
        yield Path(scratch)


def _apt(arguments: list[str], folder: str) -> None:
    quick = ["-oAcquire::Retries=1", "-oAcquire::http::Timeout=20", "-oAcquire::https::Timeout=20"]
    _run(["apt-get", "--quiet", "--quiet", *quick, *arguments], folder)


def _run(command: list[str], folder: str) -> None:
    name = " ".join(word for word in command if not word.startswith("-"))
    try:
        done = subprocess.run(
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
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("E:")]
        raise SourceError(f"{name}: {'; '.join(errors) or done.stderr.strip()[-300:]}")
