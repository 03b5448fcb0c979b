"""What an encoder is: prepare on CPUs, encode in batches where the model is."""

import hashlib
import math
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from store.errors import RecordError
from store.identity import content


@runtime_checkable
class Encoder(Protocol):
    """Turns one modality into unit vectors.

    `fingerprint` names everything that the vectors depend on (name, version, weights,
    preprocessing): equal fingerprints give equal vectors. Making an encoder is cheap; the model is
    loaded by the first `encode`.

    An encoder whose inputs differ in size may also have a method `cost(prepared) -> float`: what
    one prepared input costs, in ordinary inputs (tokens over the usual length, windows of audio).
    A batch is padded to its largest input, so inputs of like cost are batched together, and a
    batch is as large as its padded cost allows. Without it every input costs 1.
    """

    name: str
    version: str
    modality: str

    @property
    def dim(self) -> int: ...

    @property
    def fingerprint(self) -> str: ...

    def prepare(self, raw: Any) -> Any:
        """CPU work ahead of the model, without its weights: decode and resize, or tokenise.

        Raises:
            RecordError: the input cannot be used.
        """
        ...

    def encode(self, batch: list[Any]) -> np.ndarray:
        """Prepared inputs to float32 (n, dim) rows of unit length."""
        ...


def cost_of(encoder: Encoder, prepared: Any) -> float:
    """What an input costs, 1 where the encoder does not say.

    Raises RecordError `encoder.cost` where it is no positive number.
    """
    cost = getattr(encoder, "cost", None)
    if cost is None:
        return 1.0
    said = float(cost(prepared))
    if not 0 < said < math.inf:
        raise RecordError("encoder.cost", f"its cost is {said}, no positive number")
    return said


def fingerprint(name: str, version: str, *files: Path, settings: object = None) -> str:
    """`name@version#hash`, over the content of the files (weights, vocabulary, class names) and
    the settings' repr (sizes, temperatures and whatever else moves the vectors)."""
    digest = hashlib.blake2b(repr(settings).encode(), digest_size=8)
    for path in files:
        digest.update(content(path))
    return f"{name}@{version}#{digest.hexdigest()}"


def unit_rows(vectors: np.ndarray) -> np.ndarray:
    """Rows scaled to length one, float32; a zero row becomes NaN, which the pool reports."""
    rows = np.asarray(vectors, np.float32)
    with np.errstate(invalid="ignore", divide="ignore"):
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)
