"""The inputs of queries as immutable values: texts, images, recordings, vectors and ids of items.

Media become encoded bytes (an array becomes PNG or WAV), so that every query can be compared,
hashed and sent. A path stays a path: it is read where the query is encoded or sent.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from store.errors import InputError
from store.search.media_bytes import encode_image, encode_pixels, encode_samples
from store.tables.schema import MODALITIES

Kind = Literal["text", "image", "audio", "vector", "id"]
MAX_QUERIES = 1_000  # in one batch
MAX_INPUTS = 64  # of one query
MAX_TEXT = 100_000  # characters
MAX_MEDIA = 64 << 20  # bytes
MAX_ID = 200  # characters
MAX_DIM = 65_536


@dataclass(frozen=True)
class Input:
    """One input of a query.

    Attributes:
        kind: what `value` is.
        value: a text; encoded bytes or the path of an image or a recording; the float32 values of a
            vector as bytes; or the id of a part or a sample.
        weight: in the score. Negative inputs have negative weights.
        modality: of the vector. Empty for ids.
    """

    kind: Kind
    value: str | bytes | Path
    weight: float = 1.0
    modality: str = ""

    @property
    def vector(self) -> np.ndarray:
        """The vector (d,) float32 of an input of the kind "vector"."""
        return np.frombuffer(self.value, np.float32)  # type: ignore[arg-type]

    def read(self) -> bytes:
        """The encoded bytes of an image or a recording.

        Raises:
            InputError: its file is missing, cannot be read, or is too large.
        """
        if isinstance(self.value, bytes):
            return self.value
        return _bounded(self.kind, _read_file(self.kind, Path(self.value)))

    def times(self, factor: float) -> "Input":
        """The same input with `factor` times its weight."""
        return replace(self, weight=factor * self.weight)

    def __str__(self) -> str:
        shown: str = repr(self.value)
        if self.kind == "vector":
            shown = f"<vector of {len(self.value) // 4} numbers>"  # type: ignore[arg-type]
        elif isinstance(self.value, bytes):
            shown = f"<{len(self.value):,} bytes>"
        elif len(shown) > 80:
            shown = f"{shown[:80]}...'"
        name = f"{self.modality}_vector" if self.kind == "vector" else self.kind
        return f"{name}={shown}" if self.weight == 1 else f"{self.weight:g} * {name}={shown}"


Inputs = tuple[Input, ...]


def scaled_to_one(inputs: Sequence[Input]) -> Inputs:
    """Scale weights so that the positive ones sum to one.

    Raises:
        InputError: a weight is not finite, or none is positive.
    """
    total = sum(i.weight for i in inputs if i.weight > 0)
    if not inputs or not all(np.isfinite(i.weight) for i in inputs) or not 0 < total < np.inf:
        raise InputError("a query needs an input with a positive, finite weight")
    if len(inputs) > MAX_INPUTS:
        raise InputError(f"a query of {len(inputs)} inputs: at most {MAX_INPUTS} are allowed")
    return tuple(i.times(1 / total) for i in inputs)


def text_input(value: Any) -> Input:
    """A text. Raises InputError for other values and for texts that are too long."""
    if not isinstance(value, str):
        raise InputError(f"text= takes a string, not {type(value).__name__}")
    if len(value) > MAX_TEXT:
        raise InputError(f"the text has {len(value):,} characters; at most {MAX_TEXT:,} are read")
    return Input("text", value, modality="text")


def image_input(value: Any) -> Input:
    """An image: a path, encoded bytes, a PIL image, or uint8 (h, w) or (h, w, 3 or 4)."""
    if isinstance(value, np.ndarray):
        value = encode_pixels(value)
    elif hasattr(value, "save") and hasattr(value, "mode"):
        value = encode_image(value)
    return Input("image", _media("image", value, "a PIL image or a uint8 array"), modality="image")


def audio_input(value: Any) -> Input:
    """A recording: a path, encoded bytes, or (samples (n,) or (n, channels), rate in Hz)."""
    if isinstance(value, tuple):
        if len(value) != 2:
            raise InputError("audio= takes (samples, rate)")
        value = encode_samples(*value)
    return Input("audio", _media("audio", value, "(samples, rate)"), modality="audio")


def vector_input(modality: Any, value: Any) -> Input:
    """A vector (d,) of a modality, of any length above zero."""
    if modality not in MODALITIES:
        raise InputError(f"{modality!r} is not a modality; allowed: {', '.join(MODALITIES)}")
    try:
        array = np.asarray(value)
        if array.dtype.kind not in "fiu":
            raise TypeError(f"its values are of the type {array.dtype}")
        with np.errstate(over="ignore"):  # an infinite length is refused below
            vector = array.astype(np.float32)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"the {modality} vector cannot be used: {error}; expected real numbers (d,)"
        ) from None
    length = float(np.linalg.norm(vector.astype(np.float64)))
    if vector.ndim != 1 or not 0 < vector.size <= MAX_DIM or not np.isfinite(length) or not length:
        raise InputError(
            f"the {modality} vector has shape {vector.shape} and length {length:g}; expected a"
            " finite, non-zero vector (d,)"
        )
    return Input("vector", vector.tobytes(), modality=modality)


def id_input(value: Any) -> Input:
    """The id of a part or a sample of the gallery."""
    if not isinstance(value, str) or not 0 < len(value) <= MAX_ID:
        raise InputError(f"ids= takes ids of parts or samples, not {str(value)[:80]!r}")
    return Input("id", value)


def _media(kind: str, value: Any, others: str) -> bytes | Path:
    if isinstance(value, str | Path):
        return Path(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return _bounded(kind, bytes(value))
    raise InputError(f"{kind}= takes a path, bytes, {others}, not {type(value).__name__}")


def _bounded(kind: str, data: bytes) -> bytes:
    if len(data) > MAX_MEDIA:
        raise InputError(f"the {kind} has {len(data):,} bytes; at most {MAX_MEDIA:,} are read")
    return data


def _read_file(kind: str, path: Path) -> bytes:
    try:
        with path.expanduser().open("rb") as file:
            return file.read(MAX_MEDIA + 1)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise InputError(f"{kind}={str(path)!r}: there is no such file") from None
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(f"{kind}={str(path)!r} cannot be read: {error}") from error
