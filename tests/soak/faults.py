"""Faults that are injected into a running process and its descendants."""

import os
import random
import resource
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress

from tests.helpers.processes import descendants

_WAIT_SECONDS = 60.0  # for a process that is to be killed
_UNLIMITED = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)


def kill_driver(run: subprocess.Popen, chance: random.Random) -> bool:
    """SIGKILL to the process of the run; what it started must notice."""
    os.kill(run.pid, signal.SIGKILL)
    return True


def pause(run: subprocess.Popen, chance: random.Random) -> bool:
    """SIGSTOP for up to three seconds."""
    os.kill(run.pid, signal.SIGSTOP)
    time.sleep(chance.uniform(0.2, 3))
    os.kill(run.pid, signal.SIGCONT)
    return True


def fill_disk(run: subprocess.Popen, chance: random.Random) -> bool:
    """For up to two seconds, no file can grow beyond a few kilobytes: writes fail with EFBIG."""
    size = chance.randrange(1 << 8, 1 << 16)
    resource.prlimit(run.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    time.sleep(chance.uniform(0.1, 2))
    with suppress(ProcessLookupError):  # the error ended it
        resource.prlimit(run.pid, resource.RLIMIT_FSIZE, _UNLIMITED)
    return True


def killer(*titles: str) -> Callable[[subprocess.Popen, random.Random], bool]:
    """A fault: SIGKILL to a random descendant whose command line has one of the titles."""

    def kill(run: subprocess.Popen, chance: random.Random) -> bool:
        deadline = time.monotonic() + _WAIT_SECONDS
        while run.poll() is None and time.monotonic() < deadline:
            found = [
                pid for pid, line in descendants(run.pid) if any(title in line for title in titles)
            ]
            if found:
                os.kill(chance.choice(found), signal.SIGKILL)
                return True
            time.sleep(0.02)
        return False

    return kill


# Without Ray: samples, signals, duplicates and decisions in one process.
CURATION = {"driver": kill_driver, "pause": pause, "full disk": fill_disk}
WHOLE = CURATION | {
    "actor": killer("ray::EncoderActor"),
    "worker": killer("ray::"),
    "raylet": killer("/raylet/raylet"),
}
