"""The interface of an encoder: `prepare` on CPUs, `encode` in batches where the model is."""

import hashlib
import math
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from store.errors import RecordError
from store.identity import file_digest


@runtime_checkable
class Encoder(Protocol):
    """Turns inputs of one modality into unit vectors.

    Making an encoder is cheap; the first `encode` loads the model.

    An encoder whose inputs differ in size may also have a method `cost(prepared) -> float`: the
    cost of one prepared input, in ordinary inputs (tokens over the usual length, windows of
    audio). A batch is padded to its largest input, so inputs of similar cost are batched together,
    and a batch is as large as its padded cost allows. Without `cost`, every input costs 1.

    Attributes:
        name: of the encoder.
        version: changes when the code changes the vectors.
        modality: image, text or audio.
        dim: the length of its vectors.
        fingerprint: identifies everything that the vectors depend on (name, version, weights,
            preprocessing). Equal fingerprints give equal vectors.
    """

    name: str
    version: str
    modality: str

    @property
    def dim(self) -> int: ...

    @property
    def fingerprint(self) -> str: ...

    def prepare(self, raw: Any) -> Any:
        """Do the CPU work ahead of the model, without its weights: decode and resize, or tokenise.

        Raises:
            RecordError: the input cannot be used.
        """
        ...

    def encode(self, batch: list[Any]) -> np.ndarray:
        """Encode prepared inputs to float32 (n, dim) rows of unit length."""
        ...


def cost_of(encoder: Encoder, prepared: Any) -> float:
    """The cost of a prepared input; 1 if the encoder has no method `cost`.

    Raises:
        RecordError: `encoder.cost`, the cost is not a positive finite number.
    """
    cost = getattr(encoder, "cost", None)
    if cost is None:
        return 1.0
    value = float(cost(prepared))
    if not 0 < value < math.inf:
        raise RecordError("encoder.cost", f"its cost is {value}, which is not a positive number")
    return value


def fingerprint(name: str, version: str, *files: Path, settings: object = None) -> str:
    """Make the fingerprint `name@version#hash` of an encoder.

    Args:
        name: of the encoder.
        version: of its code.
        files: whose content is hashed (weights, vocabulary, class names).
        settings: whose repr is hashed (sizes, temperatures, and all else that changes the
            vectors).
    """
    digest = hashlib.blake2b(repr(settings).encode(), digest_size=8)
    for path in files:
        digest.update(file_digest(path))
    return f"{name}@{version}#{digest.hexdigest()}"


def unit_rows(vectors: np.ndarray) -> np.ndarray:
    """Scale rows (n, d) to length one, float32. A zero row becomes NaN, which the pool reports."""
    rows = np.asarray(vectors, np.float32)
    with np.errstate(invalid="ignore", divide="ignore"):
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)
