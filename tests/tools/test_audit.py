"""The lists of packages are complete: pinned and hashed, and `make audit` uses them."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", ["requirements.txt", "tools/audit.txt"])
def test_every_package_is_pinned_with_hashes(name: str) -> None:
    lines = (ROOT / name).read_text().replace("\\\n", "").splitlines()
    packages = [line for line in lines if line and not line.startswith("#")]
    assert packages
    for package in packages:
        assert re.match(r"\S+==\S+ .*--hash=sha256:[0-9a-f]{64}", package), package


def test_the_audit_has_its_tools() -> None:
    pinned = (ROOT / "tools" / "audit.txt").read_text()
    for package in (ROOT / "tools" / "audit.in").read_text().split():
        assert f"\n{package}==" in f"\n{pinned}"
    lock = (ROOT / "requirements.txt").read_text()
    assert "pip-audit" not in lock
    assert "cyclonedx" not in lock
