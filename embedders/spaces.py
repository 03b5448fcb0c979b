"""Spaces: a tower for each modality, whose vectors can be compared by cosine.

A tower is the spec of an encoder (see `embedders.registry`). If the encoder's vectors are not in
the space, the tower is a mapping, and a projection that `isotrope align` has learned from pairs
brings its vectors into the space:

    audio: {encoder: clap:laion/clap-htsat-unfused, aligned_by: text}

Queries may have towers of their own: those of a newer space, with a bridge into this one that
`isotrope bridge` has learned. Items keep the towers of the space, so nothing is embedded again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from embedders.encoder import Encoder
from embedders.registry import load_encoder, parse_spec, spec_for_modality
from store.config.only_for import OPTION as ONLY_FOR
from store.errors import EncoderError, InputError, RecordError
from store.tables.projections import FILES
from store.tables.schema import MODALITIES
from store.tables.tokens import MOST, OPTION

PRESETS = {"local": {"image": "local:image", "text": "local:text", "audio": "local:audio"}}
_BATCH = 32  # inputs of a query that are encoded at once
_TOWER_KEYS = (
    "encoder",
    "aligned_by",
    "projection",
    "method",
    "head",
    "structure",
    "dim",
    "mismatch",
)
METHODS = ("auto", "contrastive", "ridge", "cca")  # of alignment; `auto` is one of the others
# By key of a tower.
_SETTINGS = {"method": "method", "head": "kind", "structure": "structure", "dim": "dim"}


@dataclass(frozen=True)
class Alignment:
    """How a projected tower is aligned.

    Attributes:
        encoder: the spec of its bare encoder.
        by: the modalities that it is aligned by.
        settings: options of `embedders.alignment.settings.Settings`; `method` may be `auto`.
        mismatch: weigh pairs by the probability that they belong together.
    """

    encoder: str
    by: tuple[str, ...]
    settings: dict[str, Any] = field(default_factory=dict)
    mismatch: bool = False


@dataclass(frozen=True)
class Space:
    """A named space.

    Attributes:
        name: of the space.
        towers: the encoder's spec, by modality; of a projected tower, with its projection.
        aligned: how the projected towers are aligned, by modality.
        bridged: the specs of the towers of queries, with their bridges, by modality; queries of
            other modalities are encoded as items are.
    """

    name: str
    towers: dict[str, str]
    aligned: dict[str, Alignment] = field(default_factory=dict)
    bridged: dict[str, str] = field(default_factory=dict)

    @property
    def query_towers(self) -> dict[str, str]:
        """The spec of the encoder of queries, by modality."""
        return {**self.towers, **self.bridged}

    def fingerprint(self, modality: str) -> str:
        """The fingerprint of a tower's encoder.

        Raises:
            EncoderError: the encoder cannot be loaded, or is of another modality.
        """
        return self._fingerprint(modality, self.towers[modality])

    def query_fingerprint(self, modality: str) -> str:
        """The fingerprint of the encoder of queries of a modality. Raises as `fingerprint`.

        Raises:
            NotAlignedError: a bridge has not been learned from the current encoders.
        """
        return self._fingerprint(modality, self.query_towers[modality])

    def _fingerprint(self, modality: str, spec: str) -> str:
        encoder = load_encoder(spec)
        if encoder.modality != modality:
            raise EncoderError(
                f"space {self.name!r}: {spec!r} is an encoder of {encoder.modality}, not {modality}"
            )
        return encoder.fingerprint


def open_space(name: str, config: Mapping[str, Any], root: str = "") -> Space:
    """Open a space. No encoder is loaded.

    Args:
        name: of the space.
        config: its entry under `spaces:` in corpus.yaml, or in a release. The towers of queries
            are opened if `queries` has their specs and bridges, as
            `embedders.corpus_space.space_config` writes them. With `tokens` (see
            `store.tables.tokens.token_space`) its towers give packed token vectors.
        root: the tables' folder, which a tower's `projection` is relative to.

    Raises:
        EncoderError: a preset, a key or an encoder's scheme is unknown, or a tower is aligned by
            a modality that the space does not have.
    """
    settings = dict(config)
    queries, preset = settings.pop("queries", None), settings.pop("preset", None)
    tokens = settings.pop(OPTION, None)
    settings.pop(ONLY_FOR, None)  # says which samples are embedded, and nothing of the towers
    if preset is not None and preset not in PRESETS:
        raise EncoderError(f"space {name!r}: no preset {preset!r}; allowed: {', '.join(PRESETS)}")
    towers: dict[str, str] = {}
    aligned: dict[str, Alignment] = {}
    for modality, tower in {**PRESETS.get(preset or "", {}), **settings}.items():
        if modality not in MODALITIES:
            allowed = ", ".join(("preset", *MODALITIES, "queries"))
            raise EncoderError(f"space {name!r}: unknown key {modality!r}; allowed: {allowed}")
        try:
            if isinstance(tower, Mapping):
                aligned[modality] = _parse_alignment(modality, tower)
                towers[modality] = _projected_spec(aligned[modality].encoder, tower, root)
            else:
                towers[modality] = spec_for_modality(tower, modality)
        except EncoderError as error:
            raise EncoderError(f"space {name!r}, {modality}: {error}") from None
    if not towers:
        raise EncoderError(f"space {name!r} has no towers: give a preset, or image: and text:")
    space = Space(name, towers, aligned, _bridged_specs(queries, root))
    alignment_steps(space)
    return space if tokens is None else token_towers(space)


def token_towers(space: Space) -> Space:
    """The same space, whose towers give packed token vectors (`embedders.tokens`)."""
    towers, bridged = (
        {m: str(parse_spec(spec).with_options(**{OPTION: str(MOST)})) for m, spec in each.items()}
        for each in (space.towers, space.bridged)
    )
    return replace(space, towers=towers, bridged=bridged)


def alignment_steps(space: Space) -> list[tuple[str, ...]]:
    """Order the aligned towers so that each is learned after those that it is aligned by.

    Returns:
        The steps, in order. A step is one modality, or two that are aligned by each other and are
        learned together.

    Raises:
        EncoderError: a tower is aligned by itself, by a modality that the space does not have, or
            in a circle.
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
    while pending := [m for m in space.aligned if m not in settled]:
        ready = [m for m in pending if set(space.aligned[m].by) <= settled]
        if not ready:
            raise EncoderError(
                f"space {space.name!r}: {', '.join(pending)} are aligned by one another in a"
                " circle; only two towers that name nothing but each other may do so, and others"
                " may follow them"
            )
        steps += [(m,) for m in ready]
        settled |= set(ready)
    return steps


def encode_inputs(space: Space, inputs: Mapping[str, Sequence[Any]]) -> dict[str, np.ndarray]:
    """Encode the inputs of queries.

    Args:
        space: whose towers of queries encode.
        inputs: by modality; a text is a str, an image or a recording is its bytes, a path, or
            whatever else its encoder takes.

    Returns:
        Unit vectors, float32 (n, d), by modality.

    Raises:
        EncoderError: the space has no tower for a modality.
        InputError: an input is of the wrong type, is missing, or cannot be read.
    """
    vectors = {}
    for modality, values in inputs.items():
        if modality not in space.towers:
            allowed = ", ".join(space.towers)
            raise EncoderError(f"space {space.name!r} has no {modality} encoder, only {allowed}")
        encoder = load_encoder(space.query_towers[modality])
        prepared = [_prepare(encoder, modality, value) for value in values]
        batches = range(0, len(prepared), _BATCH)
        rows = [encoder.encode(prepared[start : start + _BATCH]) for start in batches]
        vectors[modality] = np.concatenate(rows)
    return vectors


def _prepare(encoder: Encoder, modality: str, value: Any) -> Any:
    raw = _read_input(modality, value)
    try:
        return encoder.prepare(raw)
    except RecordError as error:
        raise InputError(f"the {modality} of the query cannot be used: {error.error}") from None
    except Exception as error:  # on hostile bytes decoders raise almost every type of error
        message = f"{type(error).__name__}: {str(error)[:200]}"
        raise InputError(f"the {modality} of the query cannot be used: {message}") from error


def _parse_alignment(modality: str, tower: Mapping[str, Any]) -> Alignment:
    if unknown := [key for key in tower if key not in _TOWER_KEYS]:
        raise EncoderError(f"unknown key {unknown[0]!r}; allowed: {', '.join(_TOWER_KEYS)}")
    by = tower.get("aligned_by")
    if not by or "encoder" not in tower:
        raise EncoderError("a tower that is a mapping needs both encoder: and aligned_by:")
    if (method := tower.get("method", METHODS[0])) not in METHODS:
        raise EncoderError(f"method: {method!r}; allowed: {', '.join(METHODS)}")
    return Alignment(
        encoder=spec_for_modality(tower["encoder"], modality),
        by=(by,) if isinstance(by, str) else tuple(by),
        settings={_SETTINGS[key]: tower[key] for key in _SETTINGS if key in tower},
        mismatch=_yes_or_no(tower, "mismatch"),
    )


def _yes_or_no(tower: Mapping[str, Any], key: str) -> bool:
    value = tower.get(key, False)
    if not isinstance(value, bool):
        raise EncoderError(f"{key}: {value!r} must be true or false")
    return value


def _projected_spec(encoder: str, tower: Mapping[str, Any], root: str) -> str:
    file = tower.get("projection")
    return str(parse_spec(encoder).with_options(projection=f"{root}/{file}" if file else ""))


def _bridged_specs(queries: Any, root: str) -> dict[str, str]:
    """The specs of the towers of queries; none if `queries` only names a space."""
    specs = {}
    for modality, tower in queries.items() if isinstance(queries, Mapping) else ():
        if isinstance(tower, Mapping):
            files = {key: f"{root}/{tower[key]}" for key in FILES if tower.get(key)}
            options = {"bridge": "", **files}
            specs[modality] = str(parse_spec(tower["encoder"]).with_options(**options))
    return specs


def _read_input(modality: str, raw: Any) -> Any:
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
