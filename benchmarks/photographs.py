"""Photographs for benchmarks, from files that others distribute.

GCompris keeps its pictures in resource files of Qt (.rcc): WebP files, stored as they are.
"""

import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from pipelines.signals.decoded_image import decode_reduced
from pipelines.signals.scorers.image_hash import score

_SUFFIXES = {".jpg", ".jpeg", ".webp"}
_LEAST_SIDE = 200  # pixels; smaller ones are icons
_SAME_PICTURE = 31  # bits of PDQ's hash, as its authors advise


class Photograph(NamedTuple):
    """A photograph: its name, and the bytes of its file."""

    name: str
    data: bytes


def read_photographs(paths: Iterable[Path]) -> list[Photograph]:
    """The photographs of JPEG, WebP and .rcc files, and of folders of JPEG and WebP files.

    Each picture is read once, whatever its sizes. Transparent ones are cut-outs and are left out.
    """
    out: list[Photograph] = []
    hashes = np.empty((0, 32), np.uint8)
    for photograph in _files(paths):
        image = Image.open(io.BytesIO(photograph.data))
        if image.mode not in ("RGB", "L") or min(image.size) < _LEAST_SIDE:
            continue
        pdq = np.frombuffer(score(decode_reduced(photograph.data))["image_pdq"], np.uint8)
        if (np.bitwise_count(hashes ^ pdq).sum(axis=1) > _SAME_PICTURE).all():
            hashes = np.concatenate([hashes, pdq[None]])
            out.append(photograph)
    return out


def _files(paths: Iterable[Path]) -> Iterator[Photograph]:
    for path in paths:
        if path.is_dir():
            yield from _files(sorted(p for p in path.iterdir() if p.suffix.lower() in _SUFFIXES))
        elif path.suffix == ".rcc":
            for number, data in enumerate(_embedded(path.read_bytes())):
                yield Photograph(f"{path.stem} {number}", data)
        else:
            yield Photograph(path.stem, path.read_bytes())


def _embedded(data: bytes) -> Iterator[bytes]:
    """The WebP files in the bytes of another file."""
    start = -1
    while (start := data.find(b"RIFF", start + 1)) >= 0:
        if data[start + 8 : start + 12] == b"WEBP":
            yield data[start : start + 8 + int.from_bytes(data[start + 4 : start + 8], "little")]
