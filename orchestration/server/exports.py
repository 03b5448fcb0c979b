"""Exports of subsets as jobs of the server: one at a time, in a process of its own.

A process can be ended at any moment, and its memory is not the server's. What it writes is in a
folder of its own, whose name is that of the job. Only a complete export leaves a folder.
"""

import json
import logging
import os
import secrets
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from orchestration.server.admission import OverloadedError
from pipelines.export.formats import Format
from store.errors import NotFoundError

_PROCESS = "orchestration.server.export_process"
_KEPT = 100  # jobs that are remembered
_RETRY = 5.0  # seconds
_END = 10.0  # seconds that a process has to end
_log = logging.getLogger("isotrope.server")


@dataclass(frozen=True)
class Export:
    """An export.

    Attributes:
        id: of the job, and the name of its folder in the folder for exports.
        state: running, done, failed or cancelled.
        format: webdataset, parquet or lance.
        samples: how many are exported.
        bytes: that are written.
        expected_bytes: about how many there will be.
        started_at: as text, in UTC.
        error: why it failed.
    """

    id: str
    state: Literal["running", "done", "failed", "cancelled"]
    format: Format
    samples: int
    bytes: int
    expected_bytes: int
    started_at: str
    error: str | None = None


class Exports:
    """The exports of a server since it was started.

    Args:
        folder: that exports are written to. It is created.
        corpus: the folder of corpus.yaml.
    """

    def __init__(self, folder: Path, corpus: Path):
        self._folder = folder.resolve()
        self._folder.mkdir(parents=True, exist_ok=True)
        self._corpus = corpus.resolve()
        self._jobs: dict[str, Export] = {}
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._thread: threading.Thread | None = None
        self._is_cancelled = False  # the newest one

    def start(self, ids: Sequence[str], to: Format, expected_bytes: int) -> Export:
        """Start to export samples by their ids.

        Raises:
            OverloadedError: an export is running.
        """
        with self._lock:
            self.check_idle()
            now = datetime.now(UTC)
            name = f"{now:%Y%m%d-%H%M%S}-{secrets.token_hex(4)}"
            started = now.isoformat(timespec="seconds")
            job = Export(name, "running", to, len(ids), 0, expected_bytes, started)
            order = {"corpus": str(self._corpus), "ids": ids, "to": to, "folder": self._path(name)}
            self._process = subprocess.Popen(
                [sys.executable, "-m", _PROCESS],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                start_new_session=True,  # Ctrl-C ends the server, which then ends the process
            )
            self._jobs[name], self._is_cancelled = job, False
            while len(self._jobs) > _KEPT:
                del self._jobs[next(iter(self._jobs))]
            work = (name, self._process, json.dumps(order))
            self._thread = threading.Thread(target=self._follow, args=work, daemon=True)
            self._thread.start()
        return job

    def check_idle(self) -> None:
        """Raise OverloadedError if an export is running."""
        if any(job.state == "running" for job in self._jobs.values()):
            raise OverloadedError(
                "an export is running: wait for its end, or cancel it", "export", _RETRY
            )

    def jobs(self) -> list[Export]:
        """All exports, the newest first."""
        return [self.get(name) for name in reversed(list(self._jobs))]

    def get(self, name: str) -> Export:
        """An export as it is now.

        Raises:
            NotFoundError: there is none with this id.
        """
        if (job := self._jobs.get(name)) is None:
            raise NotFoundError(f"there is no export {name!r} since the server was started")
        if job.state != "running":
            return job
        return replace(job, bytes=folder_bytes(Path(self._path(name))))

    def cancel(self, name: str) -> Export:
        """End a running export, and remove what it has written. Another one stays as it is.

        It counts as running until its files are removed.

        Raises:
            NotFoundError: there is none with this id.
        """
        with self._lock:
            job, process, thread = self.get(name), self._process, self._thread
            if job.state != "running":
                return job
            self._is_cancelled = True
        assert process is not None
        assert thread is not None
        process.terminate()
        thread.join(_END)
        if thread.is_alive():
            os.killpg(process.pid, signal.SIGKILL)  # its session is its group
            thread.join()
        return self.get(name)

    def close(self) -> None:
        """Cancel what is running."""
        for job in self.jobs():
            self.cancel(job.id)

    def _path(self, name: str) -> str:
        return str(self._folder / name)

    def _follow(self, name: str, process: "subprocess.Popen[str]", order: str) -> None:
        """Give a process its order, and note how it ends."""
        assert process.stdin is not None
        assert process.stdout is not None
        answer = ""
        with suppress(BrokenPipeError), process:
            # The input stays open: its end tells the process that the server is gone.
            process.stdin.write(f"{order}\n")
            process.stdin.flush()
            answer = process.stdout.read()
        with self._lock:
            job = self._jobs[name]
            if self._is_cancelled:
                job = replace(job, state="cancelled", bytes=0)
            else:
                job = self._ended(job, answer)
            if job.state != "done":
                shutil.rmtree(self._path(name), ignore_errors=True)
            self._jobs[name] = job
        _log.info("export %s: %s", name, job.error or job.state)

    def _ended(self, job: Export, answer: str) -> Export:
        result = json.loads(answer or "{}")
        if "samples" in result:
            return replace(job, state="done", samples=result["samples"], bytes=result["bytes"])
        message = "the export failed; the server's log says why"
        if "error" in result:
            message = result["error"]["message"].replace(self._path(job.id), job.id)
        return replace(job, state="failed", error=message)


def folder_bytes(folder: Path) -> int:
    """The bytes of all files of a folder, which another process is writing.

    A folder or file that is renamed or removed meanwhile counts nothing: `os.walk` skips such a
    folder, where `Path.rglob` raises FileNotFoundError.
    """
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                total += os.stat(os.path.join(parent, name)).st_size
    return total
