"""Runs Dagster's web page and daemon for one corpus: `isotrope dev`."""

import fcntl
import os
import sys
from pathlib import Path

from orchestration import dagster_home, page_guard
from orchestration.definitions import VARIABLE
from orchestration.loopback import is_loopback
from orchestration.reported_tables import report_tables
from store.errors import BusyError
from store.workspace import Workspace


def serve(workspace: Workspace, host: str, port: int, allowed_hosts: tuple[str, ...] = ()) -> None:
    """Serve the page until it is stopped. The current process is replaced by Dagster's.

    Args:
        workspace: the corpus.
        host: the address to listen at.
        port: the port to listen at.
        allowed_hosts: names by which browsers may ask for the page, besides `host`, localhost and
            IP addresses.

    Raises:
        BusyError: another process serves the page of this corpus.
    """
    folder = dagster_home.prepare(workspace)
    _hold_lock(folder / "page.lock")
    with dagster_home.instance(workspace) as instance:
        dagster_home.fail_dead_runs(workspace, instance, page=True)
        dagster_home.set_pools(workspace, instance)
        dagster_home.add_partitions(workspace, instance)
        report_tables(workspace, instance)
    os.environ |= {VARIABLE: str(workspace.root), "DAGSTER_HOME": str(folder)}
    os.environ[page_guard.HOSTS] = ",".join((host, *allowed_hosts))
    if not is_loopback(host):
        print(
            f"warning: the page has no authentication: anyone who reaches {host}:{port} can run"
            " jobs as you. Listen at 127.0.0.1, or put a server that authenticates before it.",
            file=sys.stderr,
            flush=True,
        )
    print(f"Dagster for {workspace.root}: http://{host}:{port} (Ctrl-C stops it)", flush=True)
    os.chdir(folder)  # Python imports from the working folder first; this one has no modules
    os.execv(sys.executable, [sys.executable, *command(host, port)])


def _hold_lock(path: Path) -> None:
    """Lock a file for the lifetime of this process, also after `exec`."""
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        corpus = path.parents[1]
        raise BusyError(f"another process serves the page of {corpus}: stop it first") from None
    os.set_inheritable(descriptor, True)


def command(host: str, port: int) -> list[str]:
    """Arguments of Python for the page, the daemon and their code server."""
    root = Path(__file__).resolve().parents[1]
    dagster = ["-W", "ignore", *page_guard.command("dagster_dev"), "dev", "--log-level", "warning"]
    module = ["-m", "orchestration.definitions", "--working-directory", str(root)]
    return [*dagster, *module, "-h", host, "-p", str(port)]
