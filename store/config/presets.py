"""Published recipes as policies, one file each: what `policy: {preset: NAME}` begins with.

A file is a `policy:` section. Its head names the source, and what of it a policy does not cover.
"""

from functools import cache
from pathlib import Path
from typing import Any

import yaml

_FOLDER = Path(__file__).parent / "preset_policies"


def names() -> list[str]:
    return sorted(path.stem for path in _FOLDER.glob("*.yaml"))


@cache
def text(name: str) -> str:
    """A preset as it is written. Raises ValueError where there is none of that name."""
    if name not in names():
        raise ValueError(f"no preset {name!r}; allowed: {', '.join(names())}")
    return (_FOLDER / f"{name}.yaml").read_text(encoding="utf-8")


def load(name: str) -> dict[str, Any]:
    """A preset's policy. Raises ValueError where there is none of that name."""
    return yaml.safe_load(text(name))
