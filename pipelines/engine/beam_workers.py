"""Ends a pipeline of Beam's local runner whose worker process died, or that was interrupted.

The runner starts worker processes (`direct_running_mode: multi_processing`), and can wait for ever
for the answer of one that was killed. Without worker processes, the work is done in threads, which
an interruption of the main thread does not reach; Python waits for them before it ends.
"""

import ctypes
import threading
from collections.abc import Callable
from contextlib import suppress

import psutil

from store.errors import CrashError

_WORKER = "apache_beam.runners.worker.sdk_worker_main"
_POLL_SECONDS = 0.5
_GRACE_SECONDS = 20.0  # in which the runner notices itself that a worker ended


def run_in_threads(run: Callable[[], None]) -> None:
    """Run a pipeline in threads of this process. If it is interrupted, they end with the record.

    Args:
        run: the pipeline, to its end.
    """
    others = set(threading.enumerate())
    try:
        run()
    except Exception:
        raise
    except BaseException:  # Ctrl-C, or the termination of Dagster's run
        for thread in set(threading.enumerate()) - others:
            _interrupt(thread)
        raise


def _interrupt(thread: threading.Thread) -> None:
    """Raise SystemExit in a thread, once the call into C that it is in has returned."""
    if thread.ident is not None:
        identity = ctypes.c_ulong(thread.ident)
        ctypes.pythonapi.PyThreadState_SetAsyncExc(identity, ctypes.py_object(SystemExit))


def run_watched(run: Callable[[], None]) -> None:
    """Run a pipeline on worker processes of this machine.

    Args:
        run: the pipeline, to its end.

    Raises:
        CrashError: a worker died and the runner did not notice. The thread of the pipeline is left
            behind; it does no work any more.
    """
    errors: list[BaseException] = []

    def work() -> None:
        try:
            run()
        except BaseException as error:  # it is raised again by the caller
            errors.append(error)

    pipeline = threading.Thread(target=work, name="beam-pipeline", daemon=True)
    pipeline.start()
    workers: set[psutil.Process] = set()
    try:
        while pipeline.is_alive():
            pipeline.join(_POLL_SECONDS)
            workers |= _workers()
            dead = [worker for worker in workers if not _is_alive(worker)]
            if dead:
                pipeline.join(_GRACE_SECONDS)  # workers also end with the pipeline
            if dead and pipeline.is_alive():
                pids = ", ".join(str(worker.pid) for worker in dead)
                raise CrashError(
                    f"a worker process of Beam died (process {pids}; often for lack of memory);"
                    " units that are done stay done: start the run again"
                )
    finally:
        for worker in workers:
            with suppress(psutil.Error):
                worker.kill()
    if errors:
        raise errors[0]


def _workers() -> set[psutil.Process]:
    """The worker processes that this process started."""
    processes = set()
    for process in psutil.Process().children(recursive=True):
        try:
            # Beam's shell has the command in one word; the worker has it as a word of its own.
            if _WORKER in process.cmdline():
                processes.add(process)
        except psutil.Error:
            continue
    return processes


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
