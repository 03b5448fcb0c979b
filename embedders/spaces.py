"""Spaces: towers, one a modality, whose vectors can be compared by cosine.

A tower is named by the spec of its encoder (`embedders.registry`; the schemes are in
`embedders.registry`). One whose encoder does not live in the space is a mapping, and its vectors
go through a projection that `isotrope align` has learned from pairs:

    audio: {encoder: clap:laion/clap-htsat-unfused, aligned_by: text}
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from embedders.registry import for_modality, load, parse
from store.errors import EncoderError, InputError, RecordError
from store.tables.schema import MODALITIES

PRESETS = {"local": {"image": "local:image", "text": "local:text", "audio": "local:audio"}}
_KEYS = ("encoder", "aligned_by", "projection", "head", "structure", "dim")


@dataclass(frozen=True)
class Alignment:
    """A tower that is projected: its encoder's spec, the modalities that it is aligned by, and what
    the heads are learned with (`embedders.alignment.settings.Settings`)."""

    encoder: str
    by: tuple[str, ...]
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Space:
    """A named space, the encoder of each of its modalities, and the towers that are projected."""

    name: str
    towers: dict[str, str]
    aligned: dict[str, Alignment] = field(default_factory=dict)

    def fingerprint(self, modality: str) -> str:
        """Raises EncoderError: the encoder cannot be loaded, or is one of another modality."""
        encoder = load(self.towers[modality])
        if encoder.modality != modality:
            spec = self.towers[modality]
            raise EncoderError(
                f"space {self.name!r}: {spec!r} is an encoder of {encoder.modality}, not {modality}"
            )
        return encoder.fingerprint


def open_space(name: str, config: Mapping[str, Any], root: str = "") -> Space:
    """One entry of `spaces:` in corpus.yaml, or that of a release.

    Args:
        root: of the tables, where a tower's `projection` is found.

    Raises:
        EncoderError: a preset, a modality or an encoder's scheme is unknown, or towers are aligned
            by what is not there.
    """
    settings = dict(config)
    preset = settings.pop("preset", None)
    if preset is not None and preset not in PRESETS:
        raise EncoderError(f"space {name!r}: no preset {preset!r}; allowed: {', '.join(PRESETS)}")
    towers: dict[str, str] = {}
    aligned: dict[str, Alignment] = {}
    for modality, tower in {**PRESETS.get(preset or "", {}), **settings}.items():
        if modality not in MODALITIES:
            allowed = ", ".join(("preset", *MODALITIES))
            raise EncoderError(f"space {name!r}: unknown key {modality!r}; allowed: {allowed}")
        try:
            if isinstance(tower, Mapping):
                aligned[modality] = _alignment(modality, tower)
                towers[modality] = _projected(aligned[modality].encoder, tower, root)
            else:
                towers[modality] = for_modality(tower, modality)
        except EncoderError as error:
            raise EncoderError(f"space {name!r}, {modality}: {error}") from None
    if not towers:
        raise EncoderError(f"space {name!r} has no towers: give a preset, or image: and text:")
    space = Space(name, towers, aligned)
    in_order(space)
    return space


def in_order(space: Space) -> list[tuple[str, ...]]:
    """The aligned towers in the order in which they are learned, two that name each other at once.

    Raises EncoderError: one is aligned by itself, by what the space has not, or in a circle.
    """
    for modality, tower in space.aligned.items():
        others = [m for m in space.towers if m != modality]
        if wrong := [m for m in tower.by if m not in others]:
            raise EncoderError(
                f"space {space.name!r}: {modality} is aligned_by {wrong[0]!r}; allowed:"
                f" {', '.join(others) or 'nothing, it is the only tower'}"
            )
    settled, steps = set(space.towers) - set(space.aligned), []
    for modality, tower in space.aligned.items():
        for other in tower.by:
            both = tuple(sorted((modality, other)))
            mutual = other in space.aligned and space.aligned[other].by == (modality,)
            if mutual and tower.by == (other,) and both not in steps:
                steps.append(both)
                settled |= set(both)
    while left := [m for m in space.aligned if m not in settled]:
        ready = [m for m in left if set(space.aligned[m].by) <= settled]
        if not ready:
            raise EncoderError(
                f"space {space.name!r}: {', '.join(left)} are aligned by one another in a circle;"
                " two may name each other, and the rest follows them"
            )
        steps += [(m,) for m in ready]
        settled |= set(ready)
    return steps


def _alignment(modality: str, tower: Mapping[str, Any]) -> Alignment:
    if unknown := [key for key in tower if key not in _KEYS]:
        raise EncoderError(f"unknown key {unknown[0]!r}; allowed: {', '.join(_KEYS)}")
    by = tower.get("aligned_by")
    if not by or "encoder" not in tower:
        raise EncoderError("a tower that is a mapping has encoder: and aligned_by:")
    names = {"head": "kind", "structure": "structure", "dim": "dim"}
    return Alignment(
        encoder=for_modality(tower["encoder"], modality),
        by=(by,) if isinstance(by, str) else tuple(by),
        settings={names[key]: tower[key] for key in names if key in tower},
    )


def _projected(encoder: str, tower: Mapping[str, Any], root: str) -> str:
    file = tower.get("projection")
    return str(parse(encoder).having(projection=f"{root}/{file}" if file else ""))


def encode_query(space: Space, inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Inputs by modality to unit vectors (d,) float32.

    Raises:
        EncoderError: the space has no tower for a modality.
        InputError: an input is of the wrong type, is missing, or cannot be read.
    """
    vectors = {}
    for modality, raw in inputs.items():
        if modality not in space.towers:
            known = ", ".join(space.towers)
            raise EncoderError(f"space {space.name!r} has no {modality} encoder, only {known}")
        encoder = load(space.towers[modality])
        try:
            prepared = encoder.prepare(_checked(modality, raw))
        except RecordError as error:
            raise InputError(f"the {modality} of the query cannot be used: {error.error}") from None
        vectors[modality] = encoder.encode([prepared])[0]
    return vectors


def _checked(modality: str, raw: Any) -> Any:
    if modality == "text":
        if not isinstance(raw, str):
            raise InputError(f"text= takes a string, not {type(raw).__name__}")
        return raw
    if isinstance(raw, str | Path):
        path = Path(raw).expanduser()
        if not path.is_file():
            raise InputError(f"{modality}={str(raw)!r}: there is no such file")
        return path.read_bytes()
    return raw
