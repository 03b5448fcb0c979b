"""Reads what the searches compare, by row id: hashes, fingerprints, pixels and texts."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.duplicates.pair_joins import LocalRows, Rows
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

    def __init__(self, tables: Tables, rows: Rows):
        """Args: `rows`: (n,) row ids of samples with the images in `signals`."""
        self._rows = rows
        self._signals = TableVersion(tables, "signals", tables.version("signals"))

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

    def __init__(self, tables: Tables, rows: Rows):
        """Args: `rows`: (n,) row ids in `samples`."""
        self._rows = rows
        self._samples = TableVersion(tables, "samples", tables.version("samples"))

    def __call__(self, indices: np.ndarray) -> list[str]:
        ids = self._rows[indices].tolist()
        return take_rows(self._samples, ids, ["text"])["text"].to_pylist() if ids else []


class Recordings:
    """The fingerprints of recordings, read on demand."""

    def __init__(self, tables: Tables, rows: Rows):
        """Args: `rows`: (n,) row ids of samples with the recordings in `signals`."""
        self._rows = rows
        self._signals = TableVersion(tables, "signals", tables.version("signals"))

    def __call__(self, indices: np.ndarray) -> list[bytes]:
        """The signal `audio_fingerprint` of (k,) indices."""
        out = [b""] * len(indices)
        blocks = in_order(self._rows[indices])
        for positions, column in read_column(self._signals, blocks, "audio_fingerprint"):
            for position, fingerprint in zip(positions.tolist(), column.to_pylist(), strict=True):
                out[position] = fingerprint
        return out


def hashes_of_crops(
    tables: Tables, out: Sequence[LocalRows], blocks: Iterable[tuple[np.ndarray, np.ndarray]]
) -> None:
    """Read the signal `image_copies`; no value of it may be null.

    Args:
        out: of each crop (n, 32) uint8; is filled.
        blocks: positions in `out`, and row ids in `signals`, in the order of the row ids.
    """
    signals = TableVersion(tables, "signals", tables.version("signals"))
    for positions, column in read_column(signals, blocks, "image_copies"):
        hashes = binary_matrix(column, np.uint8).reshape(-1, CROPS, 32)
        for crop, of_crop in enumerate(out):
            of_crop[positions] = hashes[:, crop]


def in_order(rows: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Blocks of positions in (n,) row ids, and of the row ids, in the order of the row ids."""
    order = np.argsort(rows, kind="stable")
    for start in range(0, len(order), _READ_ROWS):
        positions = order[start : start + _READ_ROWS]
        yield positions, rows[positions]


def read_column(
    table: TableVersion, blocks: Iterable[tuple[np.ndarray, np.ndarray]], column: str
) -> Iterator[tuple[np.ndarray, pa.Array]]:
    """Read a column by row id.

    Args:
        blocks: (k,) positions and (k,) row ids. Reads are fast in the order of the row ids.

    Yields:
        (k,) positions, and their values.
    """
    dataset = table.open()
    for positions, rows in blocks:
        values = take_rows(dataset, rows.tolist(), [column])[column]
        yield positions, values.combine_chunks()


def binary_matrix(column: pa.Array, dtype: type) -> np.ndarray:
    """A column of fixed-size binaries without nulls as a matrix (n, values), a view."""
    width = column.type.byte_width
    flat = np.frombuffer(column.buffers()[1], np.uint8)
    flat = flat[column.offset * width : (column.offset + len(column)) * width]
    return flat.reshape(len(column), width).view(dtype)
