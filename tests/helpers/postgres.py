"""A PostgreSQL of Debian's package, for the time of a test."""

import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_USER = "dagster"


def free_port() -> int:
    """A TCP port of the loopback address that nothing uses."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return bound.getsockname()[1]


@contextmanager
def postgres() -> Iterator[dict[str, str]]:
    """Start a new database cluster; yields the variables that infra/compose/dagster.yaml reads.

    PostgreSQL refuses to run as root, so root starts it as another user. Skips the test if it is
    not installed.
    """
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not programs:
        pytest.skip("PostgreSQL is not installed: apt install postgresql")
    binaries, account = programs[-1].parent, _account()
    port, password = free_port(), secrets.token_hex(16)
    folder = Path(tempfile.mkdtemp(prefix="isotrope-postgres-"))
    try:
        (folder / "password").write_text(password)
        if account:
            shutil.chown(folder, account)
            shutil.chown(folder / "password", account)

        def run(program: str, *arguments: str) -> None:
            command = [str(binaries / program), *arguments]
            environment = os.environ | {"PGPASSWORD": password}
            options = {"user": account} if account else {}
            subprocess.run(
                command,
                cwd=folder,
                env=environment,
                check=True,
                stdout=subprocess.DEVNULL,
                **options,
            )

        data, log = str(folder / "data"), str(folder / "log")
        run("initdb", "-D", data, "-U", _USER, "-A", "scram-sha-256", "--pwfile=password")
        settings = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        run("pg_ctl", "-D", data, "-l", log, "-w", "-o", settings, "start")
        try:
            run("createdb", "-h", "127.0.0.1", "-p", str(port), "-U", _USER, "dagster")
            yield {
                "DAGSTER_POSTGRES_HOST": "127.0.0.1",
                "DAGSTER_POSTGRES_PORT": str(port),
                "DAGSTER_POSTGRES_DB": "dagster",
                "DAGSTER_POSTGRES_USER": _USER,
                "DAGSTER_POSTGRES_PASSWORD": password,
            }
        finally:
            run("pg_ctl", "-D", data, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _account() -> str | None:
    """The user to start PostgreSQL as; None: the present one."""
    if os.geteuid():
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"
