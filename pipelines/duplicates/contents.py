"""Reads what the searches compare, by row id: hashes, fingerprints, pixels and texts."""

from collections.abc import Iterator
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.signals.scorers.image_copies import CROPS, LOOK
from pipelines.signals.scorers.image_local import FEATURES
from store.tables.lance_tables import Tables
from store.tables.signals import VIEW
from store.tables.table_version import TableVersion, take_rows

_READ_ROWS = 8192


class Images:
    """What the searches for copies compare of images, read on demand.

    An image that could not be measured has no features, and black pixels.
    """

    def __init__(self, tables: Tables, rows: np.ndarray):
        """Args: `rows`: (n,) row ids of samples with the images in `signals`."""
        self._rows = rows
        self._signals = TableVersion(tables, "signals", tables.version("signals"))

    @cached_property
    def hashes(self) -> np.ndarray:
        """(n, crops, 32) uint8 of all images, the signal `image_copies`; none may be null."""
        out = np.empty((len(self._rows), CROPS, 32), np.uint8)
        for positions, column in in_order(self._signals, self._rows, "image_copies"):
            out[positions] = binary_matrix(column, np.uint8).reshape(-1, *out.shape[1:])
        return out

    def thumbnails(self, indices: np.ndarray) -> np.ndarray:
        """(k, 32, 32, 3) uint8, the signal `image_look`."""
        return self._read("image_look", indices).reshape(-1, LOOK, LOOK, 3)

    def features(self, indices: np.ndarray) -> np.ndarray:
        """(k,) records of `FEATURES`, the signal `image_keypoints`."""
        return self._read("image_keypoints", indices).view(FEATURES)[:, 0]

    def views(self, indices: np.ndarray) -> np.ndarray:
        """(k, 64, 64, 3) uint8, the signal `image_view`."""
        return self._read("image_view", indices).reshape(-1, VIEW, VIEW, 3)

    def _read(self, name: str, indices: np.ndarray) -> np.ndarray:
        distinct, inverse = np.unique(indices, return_inverse=True)
        row_ids = self._rows[distinct].tolist()
        column = take_rows(self._signals, row_ids, [name])[name].combine_chunks()
        column = pc.fill_null(column, bytes(column.type.byte_width))
        return binary_matrix(column, np.uint8)[inverse]


class Texts:
    """The texts of samples, read on demand: `texts(indices)` gives those of (k,) indices."""

    def __init__(self, tables: Tables, rows: np.ndarray):
        """Args: `rows`: (n,) row ids in `samples`."""
        self._rows = rows
        self._samples = TableVersion(tables, "samples", tables.version("samples"))

    def __call__(self, indices: np.ndarray) -> list[str]:
        ids = self._rows[indices].tolist()
        return take_rows(self._samples, ids, ["text"])["text"].to_pylist() if ids else []


def fingerprints(tables: Tables, rows: np.ndarray) -> list[bytes]:
    """The signal `audio_fingerprint` of samples, by (n,) row ids in `signals`."""
    signals = TableVersion(tables, "signals", tables.version("signals"))
    out = [b""] * len(rows)
    for positions, column in in_order(signals, rows, "audio_fingerprint"):
        for position, fingerprint in zip(positions.tolist(), column.to_pylist(), strict=True):
            out[position] = fingerprint
    return out


def in_order(
    table: TableVersion, rows: np.ndarray, column: str
) -> Iterator[tuple[np.ndarray, pa.Array]]:
    """Read a column by row id, in the order in which the table is stored.

    Args:
        rows: (n,) row ids.

    Yields:
        (k,) positions in `rows`, and their values.
    """
    order, dataset = np.argsort(rows, kind="stable"), table.open()
    for start in range(0, len(order), _READ_ROWS):
        positions = order[start : start + _READ_ROWS]
        values = take_rows(dataset, rows[positions].tolist(), [column])[column]
        yield positions, values.combine_chunks()


def binary_matrix(column: pa.Array, dtype: type) -> np.ndarray:
    """A column of fixed-size binaries without nulls as a matrix (n, values), a view."""
    width = column.type.byte_width
    flat = np.frombuffer(column.buffers()[1], np.uint8)
    flat = flat[column.offset * width : (column.offset + len(column)) * width]
    return flat.reshape(len(column), width).view(dtype)
