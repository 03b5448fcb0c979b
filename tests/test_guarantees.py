"""docs/guarantees.md names tests that exist."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_the_named_tests_exist() -> None:
    path, checked = None, 0
    for name in re.findall(r"`([\w/]+\.py)?::(\w+)`", (ROOT / "docs/guarantees.md").read_text()):
        path = name[0] or path
        assert path is not None
        assert f"def {name[1]}(" in (ROOT / path).read_text(), name
        checked += 1
    assert checked > 30
