"""Runs of a corpus in processes of their own, which begin with everything imported.

A server process imports the code once and forks for each run, so that a run of a small corpus takes
a second. The process of a run does its work alone: it can be killed, paused, or limited.
"""

import os
import signal
import sys
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path

_FORKED = get_context("forkserver")
_FORKED.set_forkserver_preload(
    [
        "tests.helpers.stages",
        "orchestration.cli.main",
        "orchestration.definitions",
        *(f"pipelines.{name}.stage" for name in ("samples", "signals", "duplicates", "decisions")),
    ]
)
LEASE_SECONDS, CLOCKS_DIFFER = 2.0, 0.5  # of the leases of all runs
_RUN_SECONDS = 1800.0


class Run:
    """One run of a corpus.

    Args:
        root: of the corpus.
        whole: make all stages as `isotrope run` does. Otherwise only those that need neither
            Dagster nor an encoder.

    Attributes:
        output: the file with what all runs of the corpus printed.
        output_size: its bytes before this run.
    """

    def __init__(self, root: Path, whole: bool):
        self.output = root / "output.txt"
        self.output.touch()
        self.output_size = self.output.stat().st_size
        self._process: BaseProcess = _FORKED.Process(
            target=_run, args=(str(root), whole, str(self.output))
        )
        self._process.start()

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process.pid is not None
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether it has not ended."""
        return self._process.is_alive()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to it, if it has not ended."""
        if self.is_alive:
            os.kill(self.pid, number)

    def wait(self, seconds: float) -> int | None:
        """Wait for its end for some seconds; return its exit status, or None if it goes on."""
        self._process.join(seconds)
        return self._process.exitcode

    def end(self) -> int:
        """Wait for its end; return its exit status.

        Raises:
            TimeoutError: it does not end. It is killed.
        """
        status = self.wait(_RUN_SECONDS)
        if status is None:
            self.signal(signal.SIGKILL)
            raise TimeoutError(f"a run did not end within {_RUN_SECONDS:.0f} s: {self.output}")
        return status


def _run(root: str, whole: bool, output: str) -> None:
    os.setsid()
    with open(output, "ab") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    from store.errors import IsotropeError
    from store.tables import leases

    leases.LEASE_SECONDS, leases._CLOCKS_DIFFER = LEASE_SECONDS, CLOCKS_DIFFER
    if whole:
        from orchestration.cli.main import main

        main(["run", "--corpus", root])
    else:
        from tests.helpers.stages import curate

        try:
            curate(Path(root))
        except IsotropeError as error:
            sys.exit(f"error: {error}")
