"""The tables of moments: windows of recordings and tiles of images, with their spans.

`moment_vectors__{space}__{modality}` has one row a part: the vectors of its moments, as float16,
and their spans. `moments__{space}__{modality}` is what search reads: one row a moment, with the
columns of a gallery, so that moments are corrected and filtered as parts are.

A span is four numbers: of a window its start and end in seconds, and two zeros; of a tile left,
top, right and bottom as shares of width and height.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from store.arrow import as_matrix, vector_column
from store.tables import schema

OPTION = "moments"  # of the spec of an encoder
NUMBERS = 4  # of a span
START, END, BOX = "_start", "_end", "_box"
SPAN_COLUMNS = (START, END, BOX)
_FIELDS = {
    "audio": [pa.field(START, pa.float32(), False), pa.field(END, pa.float32(), False)],
    "image": [pa.field(BOX, pa.list_(pa.float32()), False)],
}
MODALITIES = tuple(_FIELDS)


class Moments(NamedTuple):
    """The moments of n parts, one part after the other.

    Attributes:
        vectors: unit rows (t, d) float32.
        spans: (t, 4) float32.
        lengths: (n,) how many moments each part has. Their sum is t.
    """

    vectors: np.ndarray
    spans: np.ndarray
    lengths: np.ndarray


def fingerprint(encoder: str, option: str) -> str:
    """The fingerprint of the moments of an encoder with a fingerprint."""
    return f"{encoder}+{OPTION}={option}"


def vectors_schema(dim: int) -> pa.Schema:
    """The columns of `moment_vectors`, for vectors of `dim` dimensions."""
    return pa.schema(
        [
            *(pa.field(n, pa.string(), False) for n in ("part_id", "modality", "encoder")),
            pa.field("vectors", pa.list_(pa.list_(pa.float16(), dim)), False),
            pa.field("spans", pa.list_(pa.list_(pa.float32(), NUMBERS)), False),
        ]
    )


def served_schema(modality: str, dim: int, moved: Sequence[str] = ()) -> pa.Schema:
    """The columns of `moments`: those of the gallery without thumbnails, and four more.

    - `moment`: the number of the moment in its part, from 0.
    - `encoder`: the fingerprint of what made its vector.
    - `_start` and `_end`, in seconds, or `_box`: its span.
    """
    shared = [field for field in schema.gallery(dim, moved) if field.name != "thumbnail"]
    own = [pa.field("moment", pa.int32(), False), pa.field("encoder", pa.string(), False)]
    return pa.schema([*shared, *own, *_FIELDS[modality]])


def pack(moments: Moments, most: int) -> np.ndarray:
    """Rows (n, most * (d + 4)) float32 of n parts: vectors and spans of moments, then zeros."""
    count, dim = len(moments.lengths), moments.vectors.shape[1]
    rows = np.zeros((count, most, dim + NUMBERS), np.float32)
    present = np.arange(most) < moments.lengths[:, None]
    rows[present] = np.concatenate([moments.vectors, moments.spans], axis=1)
    return rows.reshape(count, -1)


def unpack(rows: np.ndarray, dim: int) -> Moments:
    """The moments of rows that `pack` made, with vectors of `dim` dimensions."""
    both = rows.reshape(len(rows), -1, dim + NUMBERS)
    present = both[:, :, :dim].any(axis=2)
    own = both[present]
    return Moments(own[:, :dim], own[:, dim:], present.sum(axis=1))


def columns_of(moments: Moments) -> list[pa.Array]:
    """The columns `vectors` and `spans` of n parts."""
    offsets = pa.array(np.concatenate([[0], np.cumsum(moments.lengths)]).astype(np.int32))
    values = (moments.vectors.astype(np.float16), moments.spans.astype(np.float32))
    return [
        pa.ListArray.from_arrays(offsets, vector_column(np.ascontiguousarray(each)))
        for each in values
    ]


def read_columns(rows: pa.Table) -> Moments:
    """The moments of rows with the columns `vectors` and `spans`."""
    vectors, spans = (rows[name].combine_chunks() for name in ("vectors", "spans"))
    lengths = np.diff(vectors.offsets.to_numpy())
    return Moments(as_matrix(vectors.flatten()), as_matrix(spans.flatten()), lengths)


def span_columns(modality: str, spans: np.ndarray) -> dict[str, pa.Array]:
    """The columns of `served_schema` for spans (t, 4)."""
    if modality == "audio":
        return {START: pa.array(spans[:, 0]), END: pa.array(spans[:, 1])}
    offsets = pa.array(np.arange(0, spans.size + 1, NUMBERS, dtype=np.int32))
    return {BOX: pa.ListArray.from_arrays(offsets, pa.array(spans.reshape(-1)))}


def span_text(row: dict[str, Any]) -> str:
    """The span of a result's row in words; empty if it has none."""
    if row.get(START) is not None:
        return f"{row[START]:.1f} to {row[END]:.1f} s"
    if row.get(BOX) is not None:
        left, top, right, bottom = row[BOX]
        return f"left {left:.2f}, top {top:.2f}, right {right:.2f}, bottom {bottom:.2f}"
    return ""
