"""The encoders that there are, by scheme: ours, and those that other packages enter.

A scheme is a factory `make(name, **options)`. One whose model serves several modalities takes
`modality` among its options. Packages enter theirs in the entry-point group `isotrope.encoders`:

    [project.entry-points."isotrope.encoders"]
    my_clip = "my_package.encoders:make"
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

from embedders.encoder import Encoder
from embedders.projection import Projected
from store.errors import EncoderError, InputError

ENTRY_POINTS = "isotrope.encoders"
_OURS = {
    "local": "embedders.local.towers",
    "open_clip": "embedders.encoders.open_clip",
    "clap": "embedders.encoders.clap",
    "sentence_transformers": "embedders.encoders.sentence_transformer",
    "timm": "embedders.encoders.timm_image",
    "python": "embedders.encoders.custom",
}


@dataclass(frozen=True)
class Spec:
    """A name taken apart; `str()` puts it together again, options in alphabetical order."""

    scheme: str
    name: str
    options: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        options = urlencode(sorted(self.options.items()), safe="/:,", quote_via=quote)
        return f"{self.scheme}:{self.name}" + (f"?{options}" if options else "")

    def having(self, **options: str) -> "Spec":
        return Spec(self.scheme, self.name, {**self.options, **options})


def parse(text: object) -> Spec:
    """Raises EncoderError where `text` is not `scheme:name` with options that have values."""
    written = text if isinstance(text, str) else ""
    scheme, colon, rest = written.partition(":")
    name, _, query = rest.partition("?")
    try:
        options = dict(parse_qsl(query, strict_parsing=True, keep_blank_values=True))
    except ValueError:
        options = {}
        name = name if not query else ""
    if not (scheme and colon and name):
        raise EncoderError(
            f"{text!r} names no encoder: scheme:name is expected, such as local:image,"
            " open_clip:ViT-B-32/laion2b_s34b_b79k or clap:laion/clap-htsat-unfused?pooling=best"
        )
    return Spec(scheme, name, options)


@cache
def load(spec: str) -> Encoder:
    """The encoder that a spec names, one instance a process.

    Raises:
        EncoderError: its scheme or an option is not known, or it cannot be made.
    """
    parsed = parse(spec)
    make = factory(parsed)
    options = {**parsed.options}
    projection = options.pop("projection", None)
    takes = _options(make)
    if takes is not None and (unknown := sorted(set(options) - takes)):
        known = ", ".join(sorted(takes - {"modality"})) or "none"
        raise EncoderError(f"{spec!r}: unknown option {unknown[0]!r}; it takes: {known}")
    try:
        encoder = make(parsed.name, **options)
    except (EncoderError, InputError):
        raise
    except Exception as error:
        raise EncoderError(f"{spec!r} cannot be loaded: {error}") from error
    if not _is_encoder(encoder):
        raise EncoderError(f"{spec!r} made a {type(encoder).__name__}, which is no Encoder")
    return encoder if projection is None else Projected(encoder, projection)


def for_modality(spec: str, modality: str) -> str:
    """The spec of a tower of `modality`, which a scheme that serves several has to be told.

    Raises EncoderError as `parse` and `factory` do.
    """
    parsed = parse(spec)
    takes = _options(factory(parsed))
    return str(parsed.having(modality=modality) if takes and "modality" in takes else parsed)


def factory(spec: Spec) -> Callable[..., Any]:
    """Raises EncoderError: the scheme is not known, or its module cannot be imported."""
    try:
        if spec.scheme in _OURS:
            return import_module(_OURS[spec.scheme]).make
        for entered in entry_points(group=ENTRY_POINTS, name=spec.scheme):
            return entered.load()
    except Exception as error:
        raise EncoderError(f"{spec.scheme}: cannot be imported: {error}") from error
    known = [*_OURS, *sorted({e.name for e in entry_points(group=ENTRY_POINTS)})]
    raise EncoderError(f"encoder {str(spec)!r} is not known; allowed: {', '.join(known)}")


def _is_encoder(made: Any) -> bool:
    # `isinstance` would evaluate what it looks for, and read all weights for their fingerprint.
    members = ("name", "version", "modality", "dim", "fingerprint", "prepare", "encode")
    return all(inspect.getattr_static(made, name, None) is not None for name in members)


def _options(make: Callable[..., Any]) -> set[str] | None:
    """Names of what a factory takes beside the name; None where it takes whatever comes."""
    _, *rest = inspect.signature(make).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in rest):
        return None
    return {p.name for p in rest}
