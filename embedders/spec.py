"""How encoders are named: `scheme:name`, options as in a query: `clap:laion/x?pooling=best`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, quote, urlencode

from store.errors import EncoderError


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
