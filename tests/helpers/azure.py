"""Microsoft's emulator of Azure Blob Storage, for tests, where npm's `azurite` is installed."""

import base64
import hashlib
import hmac
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx

from tests.helpers.postgres import free_port

AZURITE = shutil.which("azurite-blob")
ACCOUNT = "devstoreaccount1"  # of every emulator, with this key
_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
SECRET = "ISOTROPE_TESTAZUREKEY"  # the environment variable that has the key
os.environ[SECRET] = _KEY  # at import, so that a Ray that starts before the server has it


@dataclass(frozen=True)
class AzureServer:
    """A running emulator with the container `corpus`."""

    endpoint: str

    def options(self) -> dict[str, Any]:
        """The options of tables on it, with the key by reference."""
        return {
            "endpoint": self.endpoint,
            "allow_http": "true",
            "account_name": ACCOUNT,
            "account_key": {"env": SECRET},
        }

    def folder(self) -> str:
        """The address of a new, empty folder."""
        return f"az://corpus/{uuid4().hex}"


@contextmanager
def azure_server(folder: Path) -> Iterator[AzureServer]:
    """An emulator that runs during a `with` block."""
    port = free_port()
    command = [AZURITE, "--inMemoryPersistence", "--skipApiVersionCheck", "--blobPort", str(port)]
    with (
        (folder / "azurite.log").open("w") as log,
        subprocess.Popen(command, cwd=folder, stdout=log, stderr=log) as process,
    ):
        server = AzureServer(f"http://127.0.0.1:{port}/{ACCOUNT}")
        _create_container(server.endpoint)
        yield server
        process.terminate()


def _create_container(endpoint: str) -> None:
    """Create the container once the emulator listens. The request is signed with its key."""
    headers = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2021-08-06"}
    lines = ["PUT", *[""] * 11, *(f"{name}:{value}" for name, value in headers.items())]
    text = "\n".join([*lines, f"/{ACCOUNT}/{ACCOUNT}/corpus", "restype:container"])
    digest = hmac.digest(base64.b64decode(_KEY), text.encode(), hashlib.sha256)
    headers["authorization"] = f"SharedKey {ACCOUNT}:{base64.b64encode(digest).decode()}"
    with httpx.Client(transport=httpx.HTTPTransport(retries=6)) as client:  # 16 s in all
        client.put(f"{endpoint}/corpus?restype=container", headers=headers).raise_for_status()
