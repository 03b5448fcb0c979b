"""Spaces: towers, one a modality, whose vectors can be compared by cosine.

A tower is named by a string: `local:image`, `local:text`, `local:audio`, or
`python:module:factory` for an encoder of one's own (the factory takes no arguments and returns an
Encoder).
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from embedders.encoder import Encoder
from store.errors import EncoderError, InputError
from store.schema import MODALITIES

PRESETS = {"local": {"image": "local:image", "text": "local:text", "audio": "local:audio"}}
SCHEMES = ("local", "python")


@dataclass(frozen=True)
class Space:
    """A named space and the encoder of each of its modalities."""

    name: str
    towers: dict[str, str]

    def fingerprint(self, modality: str) -> str:
        return load(self.towers[modality]).fingerprint


def open_space(name: str, config: Mapping[str, Any]) -> Space:
    """One entry of `spaces:` in corpus.yaml.

    Raises:
        EncoderError: a preset, a modality or an encoder's scheme is unknown.
    """
    settings = dict(config)
    preset = settings.pop("preset", None)
    if preset is not None and preset not in PRESETS:
        raise EncoderError(f"space {name!r}: no preset {preset!r}; allowed: {', '.join(PRESETS)}")
    towers = {**PRESETS.get(preset or "", {}), **settings}
    for modality, spec in towers.items():
        if modality not in MODALITIES:
            allowed = ", ".join(("preset", *MODALITIES))
            raise EncoderError(f"space {name!r}: unknown key {modality!r}; allowed: {allowed}")
        _check_spec(name, spec)
    if not towers:
        raise EncoderError(f"space {name!r} has no towers: give a preset, or image: and text:")
    return Space(name, towers)


def _check_spec(space: str, spec: Any) -> None:
    scheme = spec.partition(":")[0] if isinstance(spec, str) else ""
    if scheme not in SCHEMES:
        allowed = "local:image, local:text, local:audio, python:module:factory"
        raise EncoderError(f"space {space!r}: encoder {spec!r} is not known; allowed: {allowed}")


@cache
def load(spec: str) -> Encoder:
    """The encoder that a spec names, one instance a process.

    Raises:
        EncoderError: it is not known or cannot be imported.
    """
    scheme, _, rest = spec.partition(":")
    if scheme == "local":
        from embedders.local import LocalAudio, LocalImage, LocalText

        towers: dict[str, type] = {"image": LocalImage, "text": LocalText, "audio": LocalAudio}
        if rest not in towers:
            raise EncoderError(f"{spec!r}: allowed are local:image, local:text and local:audio")
        return towers[rest]()
    if scheme == "python":
        module, _, factory = rest.partition(":")
        try:
            made = getattr(import_module(module), factory)()
        except Exception as error:
            raise EncoderError(f"{spec!r} cannot be loaded: {error}") from error
        if not isinstance(made, Encoder):
            raise EncoderError(f"{spec!r} made a {type(made).__name__}, which is no Encoder")
        return made
    raise EncoderError(f"encoder {spec!r} is not known; schemes: {', '.join(SCHEMES)}")


def encode_query(space: Space, inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Inputs by modality to unit vectors (d,) float32.

    Raises:
        EncoderError: the space has no tower for a modality.
        InputError: an input is of the wrong type, is missing, or cannot be read.
    """
    from store.errors import RecordError

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


def python_path() -> str:
    """The driver's import path, for workers that must import a user's own encoder."""
    return ":".join(p for p in sys.path if p)
