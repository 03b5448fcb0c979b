"""What the command line does with an error that nothing else handled.

It prints what failed in one or two lines and writes the traceback to a log file. Nothing is hidden:
the log has the whole chain of errors and the versions, and `--debug` prints it.
"""

import errno
import os
import platform
import sys
import tempfile
import traceback
from collections.abc import Iterator
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from store.config.corpus_yaml import FILE

LOG_FOLDER = Path(".isotrope", "errors")  # in the corpus's folder; sources skip hidden folders
_PACKAGES = (
    *("isotrope", "lancedb", "pylance", "pyarrow", "numpy", "torch"),
    *("ray", "apache-beam", "dagster", "duckdb"),
)
_MAX_MESSAGE = 300
_NO_MEMORY = ("failed to map segment", "cannot allocate memory", "(os error 12)")
_FULL_DISK = (
    "no space left on device",
    "disk quota exceeded",
    "database or disk is full",
    "(os error 28)",
)


def describe(error: BaseException) -> str:
    """What failed, in one line."""
    for each in _chain(error):
        text = str(each).lower()
        full = getattr(each, "errno", None) in (errno.ENOSPC, errno.EDQUOT)
        if full or any(phrase in text for phrase in _FULL_DISK):
            file = getattr(each, "filename", None)
            where = f" ({file})" if file else ""
            return (
                f"the disk is full{where}: free some space and run the command again;"
                " tables that were published are unchanged"
            )
    for each in _chain(error):
        text = str(each).lower()
        is_short = isinstance(each, MemoryError) or getattr(each, "errno", None) == errno.ENOMEM
        if is_short or any(phrase in text for phrase in _NO_MEMORY):
            return (
                f"there is not enough memory ({type(each).__name__}): stop other programs, raise"
                " the limit (`ulimit -v`, the container's), or set fewer actors in corpus.yaml"
            )
    message = next(iter(str(error).strip().splitlines()), "")
    name = type(error).__name__
    return f"{name}: {message[:_MAX_MESSAGE]}" if message else name


def write_log(error: BaseException, command: str, corpus: str | None) -> Path | None:
    """Write the traceback to a new file that only this user can read.

    Args:
        error: the error.
        command: the name of the command that failed.
        corpus: the folder of the corpus, if the command has one.

    Returns:
        The file, in the corpus's folder or the system's temporary folder. None if neither can be
        written to.
    """
    content = f"isotrope {command}\n{versions()}\n\n{full_traceback(error)}"
    name = f"{datetime.now():%Y%m%d-%H%M%S}-{os.getpid()}.log"
    files = [Path(tempfile.gettempdir(), f"isotrope-{name}")]
    if corpus and Path(corpus, FILE).is_file():
        files.insert(0, Path(corpus).resolve() / LOG_FOLDER / name)
    for file in files:
        try:
            _write_new(file, content)
        except OSError:
            continue
        return file
    return None


def _write_new(file: Path, content: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    # O_EXCL and O_NOFOLLOW: every user can write to the temporary folder.
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    descriptor = os.open(file, flags, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="replace") as log:
            log.write(content)
    except OSError:  # the disk may be full
        file.unlink()
        raise


def full_traceback(error: BaseException) -> str:
    """The traceback with those of its causes."""
    return "".join(traceback.format_exception(error))


def versions() -> str:
    """Versions of Python, the system and the packages that matter, one per line."""
    lines = [f"python {sys.version.split()[0]}", platform.platform()]
    for package in _PACKAGES:
        try:
            lines.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            lines.append(f"{package} is not installed")
    return "\n".join(lines)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and everything that caused it."""
    errors: list[BaseException | None] = [error]
    known: set[int] = set()
    while errors:
        each = errors.pop(0)
        if each is None or id(each) in known:
            continue
        known.add(id(each))
        yield each
        errors += [each.__cause__, each.__context__]
