"""The tables `tokens__{space}__{modality}`: the token vectors of parts, compressed.

A part has up to `MOST` unit vectors: of the tokens of its text, or of the patches of its image.
They are stored as int8 codes c = round(127 x / max|x|), a quarter of float32. A vector is read back
as the unit vector of its codes, so no scale is stored.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

MOST = 64  # token vectors of a part
OPTION = "tokens"  # of the spec of an encoder, and of the configuration of a space
_LARGEST = 127  # code


class TokenSets(NamedTuple):
    """The token vectors of n parts, one part after the other.

    Attributes:
        vectors: unit rows (t, d) float32.
        lengths: (n,) how many of them each part has. Their sum is t.
    """

    vectors: np.ndarray
    lengths: np.ndarray

    def split(self) -> list[np.ndarray]:
        """The vectors of each part."""
        return np.split(self.vectors, np.cumsum(self.lengths)[:-1]) if len(self.lengths) else []


def schema(dim: int) -> pa.Schema:
    """The columns of a table whose vectors have `dim` dimensions."""
    codes = pa.list_(pa.list_(pa.int8(), dim))
    return pa.schema(
        [
            pa.field("part_id", pa.string(), nullable=False),
            pa.field("modality", pa.string(), nullable=False),
            pa.field("encoder", pa.string(), nullable=False),
            pa.field("tokens", codes, nullable=False),
        ]
    )


def fingerprint(encoder: str) -> str:
    """The fingerprint of the token vectors of an encoder with a fingerprint."""
    return f"{encoder}+{OPTION}={MOST}"


def token_space(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration of a space whose towers give packed token vectors instead of vectors."""
    return {**config, OPTION: MOST}


def pack(sets: TokenSets) -> np.ndarray:
    """Rows (n, `MOST` * d) float32 of n parts: their vectors, then zeros."""
    count, dim = len(sets.lengths), sets.vectors.shape[1]
    rows = np.zeros((count, MOST, dim), np.float32)
    rows[np.arange(MOST) < sets.lengths[:, None]] = sets.vectors
    return rows.reshape(count, MOST * dim)


def unpack(rows: np.ndarray) -> TokenSets:
    """The token vectors of rows that `pack` made."""
    vectors = rows.reshape(len(rows), MOST, -1)
    present = vectors.any(axis=2)
    return TokenSets(np.ascontiguousarray(vectors[present]), present.sum(axis=1))


def codes_of(vectors: np.ndarray) -> np.ndarray:
    """The int8 codes (t, d) of vectors (t, d). The codes of a zero row are zeros."""
    largest = np.abs(vectors).max(axis=1, keepdims=True, initial=0)
    return np.rint(vectors * (_LARGEST / np.where(largest > 0, largest, 1))).astype(np.int8)


def column(sets: TokenSets) -> pa.ListArray:
    """The column `tokens` of n parts."""
    offsets = np.concatenate([[0], np.cumsum(sets.lengths)]).astype(np.int32)
    codes = pa.array(codes_of(sets.vectors).reshape(-1))
    return pa.ListArray.from_arrays(
        pa.array(offsets), pa.FixedSizeListArray.from_arrays(codes, sets.vectors.shape[1])
    )


def read_column(tokens: pa.ChunkedArray) -> TokenSets:
    """The token vectors of a column that `column` made, as unit rows."""
    listed = tokens.combine_chunks()
    lengths = np.diff(listed.offsets.to_numpy())
    codes = listed.flatten().flatten().to_numpy().astype(np.float32)
    vectors = codes.reshape(-1, tokens.type.value_type.list_size)
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return TokenSets(vectors / np.where(norms > 0, norms, 1), lengths)
