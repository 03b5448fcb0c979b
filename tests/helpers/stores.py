"""A real S3 server on loopback for tests: moto's, in this process."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from botocore.session import Session
from moto.server import ThreadedMotoServer

SECRET = "ISOTROPE_TESTSECRET"  # the environment variable that has the secret key
# Set at import, so that a Ray that starts before the server has it.
os.environ[SECRET] = "testing"


@dataclass(frozen=True)
class S3Server:
    """A running server with the bucket `corpus`.

    Attributes:
        endpoint: its URL.
    """

    endpoint: str

    def options(self, endpoint: str | None = None) -> dict[str, Any]:
        """The options of tables on it, with the secret by reference."""
        return {
            "endpoint": endpoint or self.endpoint,
            "region": "us-east-1",
            "allow_http": "true",
            "access_key_id": "testing",
            "secret_access_key": {"env": SECRET},
        }

    def folder(self) -> str:
        """The address of a new, empty folder."""
        return f"s3://corpus/{uuid4().hex}"


@contextmanager
def s3_server() -> Iterator[S3Server]:
    """A server that runs during a `with` block."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    client = Session().create_client(
        "s3",
        region_name="us-east-1",
        endpoint_url=endpoint,
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
    )
    client.create_bucket(Bucket="corpus")
    yield S3Server(endpoint)
    server.stop()
