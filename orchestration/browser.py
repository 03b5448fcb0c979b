"""Opens a web browser at a local address as soon as something listens there.

`python -m orchestration.browser ADDRESS` runs beside the server that will listen, and ends with it.
"""

import os
import socket
import subprocess
import sys
import time
import webbrowser
from urllib.parse import urlsplit

_WAIT = 120  # seconds
_PAUSE = 0.2


def open_when_ready(address: str) -> None:
    """Start a process that opens the address, such as http://127.0.0.1:8000/, once it answers."""
    subprocess.Popen([sys.executable, "-m", "orchestration.browser", address])


def open_now(address: str) -> None:
    """Open an address. Without a browser, print it."""
    if not webbrowser.open(address):
        print(f"no browser was found: open {address}", file=sys.stderr)


def _wait(address: str) -> bool:
    """Wait until something listens at the address. False: the server ended, or it took too long."""
    parts, server = urlsplit(address), os.getppid()
    end = time.monotonic() + _WAIT
    while time.monotonic() < end and os.getppid() == server:
        try:
            with socket.create_connection((str(parts.hostname), parts.port or 80), timeout=1):
                return True
        except OSError:
            time.sleep(_PAUSE)
    return False


if __name__ == "__main__":
    if _wait(sys.argv[1]):
        open_now(sys.argv[1])
