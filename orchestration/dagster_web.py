"""What `isotrope dev` does: Dagster's web page on one corpus, with its daemon."""

import fcntl
import os
import sys
from pathlib import Path

from orchestration import dagster_home, page_guard
from orchestration.definitions import VARIABLE
from store.errors import BusyError
from store.workspace import Workspace


def serve(workspace: Workspace, host: str, port: int, allowed_hosts: tuple[str, ...] = ()) -> None:
    """Serve the page until it is stopped; this process becomes Dagster's.

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
    _hold(folder / "page.lock")
    with dagster_home.instance(workspace) as instance:
        dagster_home.bury(workspace, instance, page=True)
        dagster_home.register(workspace, instance)
        dagster_home.catch_up(workspace, instance)
    os.environ |= {VARIABLE: str(workspace.root), "DAGSTER_HOME": str(folder)}
    os.environ[page_guard.HOSTS] = ",".join((host, *allowed_hosts))
    if not page_guard.is_loopback(host):
        print(
            f"warning: the page has no authentication: anyone who reaches {host}:{port} can run"
            " jobs as you. Listen at 127.0.0.1, or put a server that authenticates before it.",
            file=sys.stderr,
            flush=True,
        )
    print(f"Dagster on {workspace.root}: http://{host}:{port} (Ctrl-C stops it)", flush=True)
    os.chdir(folder)  # Python looks for modules where it stands: nothing there may pass for one
    os.execv(sys.executable, [sys.executable, *command(host, port)])


def _hold(path: Path) -> None:
    """Lock a file for as long as this process lives, whatever program it runs."""
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise BusyError(f"another process serves the page of {path.parents[1]} already") from None
    os.set_inheritable(descriptor, True)


def command(host: str, port: int) -> list[str]:
    """Python's arguments for the page, the daemon and their code server."""
    here = Path(__file__).resolve().parents[1]
    quiet = ["-W", "ignore", *page_guard.command("dagster_dev"), "dev", "--log-level", "warning"]
    module = ["-m", "orchestration.definitions", "--working-directory", str(here)]
    return [*quiet, *module, "-h", host, "-p", str(port)]
