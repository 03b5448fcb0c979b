"""Preset policies: published filtering recipes for `policy: {preset: NAME}`, one file each.

A file is a `policy:` section. Its comments name the source, and the steps of the source that a
policy does not cover.
"""

from functools import cache
from pathlib import Path
from typing import Any

import yaml

_FOLDER = Path(__file__).parent / "preset_policies"


def names() -> list[str]:
    """The names of all presets, sorted."""
    return sorted(path.stem for path in _FOLDER.glob("*.yaml"))


@cache
def text(name: str) -> str:
    """The YAML text of a preset. Raises ValueError if there is no such preset."""
    if name not in names():
        raise ValueError(f"no preset {name!r}; allowed: {', '.join(names())}")
    return (_FOLDER / f"{name}.yaml").read_text(encoding="utf-8")


def load(name: str) -> dict[str, Any]:
    """The policy of a preset, as parsed YAML. Raises ValueError if there is no such preset."""
    return yaml.safe_load(text(name))
