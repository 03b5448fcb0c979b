"""Beginning a corpus: a corpus.yaml for a source, after a look at what it delivers."""

import json
import os
from pathlib import Path
from typing import Literal

from pipelines.sources import file_kinds
from pipelines.sources.drops import Drop, find_drops
from pipelines.sources.read import count_records
from pipelines.sources.units import list_units
from store.config.corpus_yaml import FILE, parse
from store.errors import InputError, SourceError

_TEMPLATE = """\
# A corpus of isotrope. Every key is optional but `sources`.

sources:
  {name}:
    path: {path}
    drop_by: {drop_by}       # entry: each folder or tar is a drop; source: all is one drop

# What a sample must be to be kept. Change it and run again: no model runs twice.
policy:
{policy}

space: local               # needs no model hub
spaces:
  local: {{preset: local}}

corrections:
  methods: [inverted_softmax, nnn, csls]

engine:
  ray: {{actors: 1, num_cpus: 1, num_gpus: 0}}
  beam: {{runner: FnApiRunner}}
"""


_RULES = """\
  image_min_side: {min: 32}
  image_aspect: {max: 8}
  text_chars: {max: 2000}"""


def begin(folder: Path, source: str, preset: str | None = None) -> dict[Drop, int]:
    """Write FOLDER/corpus.yaml and count what the source delivers: records by drop.

    Args:
        preset: the policy's; a few mild rules where there is none.

    Raises:
        SourceError: the source is missing, empty or of no known format; nothing is written.
        InputError: there is a corpus.yaml already.
        ConfigError: there is no such preset, or it was made for another space.
    """
    target = folder / FILE
    if target.exists():
        raise InputError(f"{target} is there already: edit it, or choose another folder")
    is_remote = "://" in source
    place = source.rstrip("/") if is_remote else str(Path(source).expanduser().resolve())
    if not is_remote and not os.path.isdir(place):
        raise SourceError(f"{source} is not a folder: --from takes the folder with your data")
    name = _name(place)
    drop_by: Literal["entry", "source"] = "source" if _belongs_together(name, place) else "entry"
    drops = find_drops(name, place, drop_by).values()
    counts = {d: sum(count_records(u) for u in list_units(d)) for d in drops}
    policy = _RULES if preset is None else f"  preset: {json.dumps(preset)}"
    path = _quoted(place) if is_remote else _relative(Path(place), folder)
    text = _TEMPLATE.format(name=name, path=path, drop_by=drop_by, policy=policy)
    parse(text)
    folder.mkdir(parents=True, exist_ok=True)
    target.write_text(text, encoding="utf-8")
    return counts


def _belongs_together(name: str, place: str) -> bool:
    """Where files lie loose beside folders, the folders are categories, not deliveries; so are
    folders beside a manifest that may name their files."""
    drops = find_drops(name, place)
    manifests = any(file_kinds.is_manifest(d.entries[0]) for d in drops.values())
    return name in drops or (manifests and any(d.entries == ("",) for d in drops.values()))


def _name(place: str) -> str:
    last = place.rpartition("/")[2]
    kept = "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "-" for c in last)
    return kept.strip("-") or "source"


def _relative(place: Path, folder: Path) -> str:
    """Relative where the source lies in the corpus's folder, so that both can move together."""
    here = folder.expanduser().resolve()
    path = os.path.relpath(place, here) if place.is_relative_to(here) else str(place)
    return _quoted(path)


def _quoted(path: str) -> str:
    return '"' + path.replace("\\", "\\\\").replace('"', '\\"') + '"'
