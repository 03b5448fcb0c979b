"""Name encoders by specs, and make the encoder that a spec names.

A spec is `scheme:name?option=value&option=value`, for example
`clap:laion/clap-htsat-unfused?pooling=best`. Each scheme has a factory `make(name, **options)`,
which gets the options as strings. If its model serves several modalities, `modality` is one of
the options. The options `projection` and `bridge`, files of projections, are taken by every scheme
(see `embedders.projection`). A bridge is applied last: it brings vectors of a space into an older
one. With the option `tokens=64`, an encoder gives packed token vectors (see `embedders.tokens`).
With `moments`, it gives packed vectors of windows or tiles (see `embedders.moments`). With
`layer=4`, its vectors are the output of its fourth layer (see `embedders.layers`).

Other packages add schemes with the entry-point group `isotrope.encoders`:

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

from embedders import layers
from embedders.encoder import Encoder
from embedders.moments import MomentEncoder
from embedders.projection import BRIDGE, ProjectedEncoder
from embedders.tokens import TokenEncoder
from store.errors import EncoderError, InputError
from store.tables import moments
from store.tables.tokens import MOST, OPTION

ENTRY_POINTS = "isotrope.encoders"
_MODULES = {
    "local": "embedders.local.towers",
    "open_clip": "embedders.encoders.open_clip",
    "clap": "embedders.encoders.clap",
    "sentence_transformers": "embedders.encoders.sentence_transformer",
    "timm": "embedders.encoders.timm_image",
    "python": "embedders.encoders.custom",
}
_ENCODER_MEMBERS = ("name", "version", "modality", "dim", "fingerprint", "prepare", "encode")


@dataclass(frozen=True)
class EncoderSpec:
    """A parsed spec. `str()` writes it again, with its options in alphabetical order."""

    scheme: str
    name: str
    options: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        options = urlencode(sorted(self.options.items()), safe="/:,", quote_via=quote)
        return f"{self.scheme}:{self.name}" + (f"?{options}" if options else "")

    def with_options(self, **options: str) -> "EncoderSpec":
        """The same spec with these options added or replaced."""
        return EncoderSpec(self.scheme, self.name, {**self.options, **options})

    def without(self, option: str) -> "EncoderSpec":
        """The same spec without an option."""
        options = {name: value for name, value in self.options.items() if name != option}
        return EncoderSpec(self.scheme, self.name, options)


def parse_spec(text: object) -> EncoderSpec:
    """Parse a spec.

    Raises:
        EncoderError: `text` is not `scheme:name`, or an option has no value.
    """
    spec = text if isinstance(text, str) else ""
    scheme, colon, rest = spec.partition(":")
    name, _, query = rest.partition("?")
    try:
        options = dict(parse_qsl(query, strict_parsing=True, keep_blank_values=True))
    except ValueError:
        options = {}
        name = name if not query else ""
    if not (scheme and colon and name):
        raise EncoderError(
            f"{text!r} does not name an encoder: scheme:name is expected, such as local:image,"
            " open_clip:ViT-B-32/laion2b_s34b_b79k or clap:laion/clap-htsat-unfused?pooling=best"
        )
    return EncoderSpec(scheme, name, options)


def spec_for_modality(spec: str, modality: str) -> str:
    """Add the option `modality` to a spec, if its scheme takes it.

    Raises:
        EncoderError: the spec cannot be parsed, or its scheme is unknown or cannot be imported.
    """
    parsed = parse_spec(spec)
    names = _option_names(_factory(parsed))
    if names is not None and "modality" in names:
        parsed = parsed.with_options(modality=modality)
    return str(parsed)


@cache
def load_encoder(spec: str) -> Encoder:
    """Make the encoder that a spec names. A process has one instance of each.

    Raises:
        EncoderError: the scheme or an option is unknown, or the encoder cannot be made.
    """
    parsed = parse_spec(spec)
    make = _factory(parsed)
    options = {**parsed.options}
    if OPTION in options:
        return _token_encoder(parsed)
    if (cut := options.get(moments.OPTION)) is not None:
        return MomentEncoder(load_encoder(str(parsed.without(moments.OPTION))), cut)
    projection, bridge = options.pop("projection", None), options.pop("bridge", None)
    layer = options.pop(layers.OPTION, None)
    names = _option_names(make)
    if names is not None and (unknown := sorted(set(options) - names)):
        allowed = ", ".join(sorted(names - {"modality"})) or "none"
        raise EncoderError(f"{spec!r}: unknown option {unknown[0]!r}; allowed: {allowed}")
    try:
        encoder = make(parsed.name, **options)
    except (EncoderError, InputError):
        raise
    except Exception as error:
        raise EncoderError(f"{spec!r} cannot be loaded: {error}") from error
    if not _is_encoder(encoder):
        raise EncoderError(
            f"{spec!r} made a {type(encoder).__name__}, which is not an Encoder: an encoder has"
            f" {', '.join(_ENCODER_MEMBERS)}"
        )
    if layer is not None:
        encoder = layers.LayerEncoder(encoder, layer)
    if projection is not None:
        encoder = ProjectedEncoder(encoder, projection)
    return encoder if bridge is None else ProjectedEncoder(encoder, bridge, BRIDGE)


def _token_encoder(spec: EncoderSpec) -> TokenEncoder:
    """The encoder of the token vectors of another one, whose model is loaded once for both."""
    if (most := spec.options[OPTION]) != str(MOST):
        raise EncoderError(f"{str(spec)!r}: {OPTION}={most}; allowed: {MOST}")
    return TokenEncoder(load_encoder(str(spec.without(OPTION))))


def _factory(spec: EncoderSpec) -> Callable[..., Any]:
    """The factory of a spec's scheme."""
    try:
        if spec.scheme in _MODULES:
            return import_module(_MODULES[spec.scheme]).make
        for entry_point in entry_points(group=ENTRY_POINTS, name=spec.scheme):
            return entry_point.load()
    except Exception as error:
        raise EncoderError(f"encoders of {spec.scheme} cannot be imported: {error}") from error
    schemes = [*_MODULES, *sorted({e.name for e in entry_points(group=ENTRY_POINTS)})]
    raise EncoderError(
        f"{str(spec)!r}: unknown scheme {spec.scheme!r}; allowed: {', '.join(schemes)}"
    )


def _option_names(make: Callable[..., Any]) -> set[str] | None:
    """The options that a factory takes beside the name; None if it takes any."""
    _, *parameters = inspect.signature(make).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return None
    return {p.name for p in parameters}


def _is_encoder(value: Any) -> bool:
    # `isinstance` would evaluate the members, and so read all weights for the fingerprint.
    return all(inspect.getattr_static(value, name, None) is not None for name in _ENCODER_MEMBERS)
