"""Measures the signals of pairs of samples, one tile of samples at a time."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice

import numpy as np
import pyarrow as pa

from pipelines.pairs.draw import MODALITY_PAIRS, bank_sides, centroids, sentinels
from pipelines.pairs.linear_head import LinearHead
from pipelines.pairs.reference_bank import Parts, ReferenceBank
from pipelines.pairs.signals import gram_volume
from pipelines.pairs.vector_table import VectorTable
from store import spherical_kmeans
from store.config.signals import Pairs
from store.tables import schema
from store.tables.schema import MODALITIES
from store.tables.staging import Entry
from store.tables.table_version import take_rows

RULE = "pairs.vector"


@dataclass(frozen=True)
class TileVectors:
    """The vectors of a tile of n samples, by modality.

    Attributes:
        vectors: float32 (n, d); zeros where a sample has none.
        present: bool (n,), which samples have a valid vector.
        entries: for the ledger, one for each vector that is not valid.
    """

    vectors: dict[str, np.ndarray]
    present: dict[str, np.ndarray]
    entries: list[Entry]


class PairScorer:
    """Measures the signals of pairs for any samples of the corpus.

    Args:
        drawn: what the samples are measured against (`pipelines.pairs.draw`).
        table: of their vectors.
        settings: the section `pairs` of corpus.yaml.
        head: over the image vectors of this space, or None.
    """

    def __init__(
        self, drawn: pa.Table, table: VectorTable, settings: Pairs, head: LinearHead | None
    ) -> None:
        self.table = table
        self.head = head
        self.banks = {(a, b): ReferenceBank(*bank_sides(drawn, a, b)) for a, b in MODALITY_PAIRS}
        for bank in self.banks.values() if settings.mismatch else ():
            bank.fit()
        self.centroids = centroids(drawn)
        self.sentinels = sentinels(drawn)

    @property
    def needed(self) -> Mapping[str, tuple[str, ...]]:
        """Columns that have a value if and only if a sample has valid vectors in some modalities,
        and these modalities."""
        return {
            **{f"{a}_{b}_cosine": (a, b) for a, b in self.banks},
            **({} if self.head is None else {"image_laion_aesthetic": ("image",)}),
            **{f"{m}_cluster": (m,) for m in self.centroids},
            **{f"{m}_hubness": (m,) for m in self.sentinels},
        }

    def read(self, tile: pa.Table) -> TileVectors:
        """Read the vectors of a tile, as `EmbeddedSamples.tiles` gives it."""
        vectors, present, entries = {}, {}, []
        for m in MODALITIES:
            vectors[m], present[m], broken = self._read(tile, m)
            entries += self._entries(tile, broken, m)
        return TileVectors(vectors, present, entries)

    def score(self, tile: pa.Table, tile_vectors: TileVectors) -> pa.RecordBatch:
        """The rows of `pairs` of a tile.

        Args:
            tile_vectors: what `read` returned for the tile.
        """
        vectors, present = tile_vectors.vectors, tile_vectors.present
        columns: dict[str, np.ndarray] = {}

        def put(name: str, rows: np.ndarray, values: np.ndarray) -> None:
            columns[name] = np.full(tile.num_rows, np.nan)
            columns[name][rows] = values

        for (a, b), bank in self.banks.items():
            rows = np.flatnonzero(present[a] & present[b])
            if len(rows):
                paired = tile.take(pa.array(rows))
                sides = (Parts(_ids(paired[f"{m}_id"]), vectors[m][rows]) for m in (a, b))
                for suffix, values in bank.compare(*sides).items():
                    put(f"{a}_{b}_{suffix}", rows, values)
        rows = np.flatnonzero(present["text"] & present["image"] & present["audio"])
        if len(rows):
            parts = (vectors[m][rows] for m in MODALITIES)
            put("text_image_audio_volume", rows, gram_volume(*parts))
        if self.head is not None:
            rows = np.flatnonzero(present["image"])
            put("image_laion_aesthetic", rows, self.head(vectors["image"][rows]))
        for m, of_clusters in self.centroids.items():
            rows = np.flatnonzero(present[m])
            nearest = spherical_kmeans.nearest_centroids(vectors[m][rows], of_clusters)[0]
            put(f"{m}_cluster", rows, nearest)
        for m, queries in self.sentinels.items():
            rows = np.flatnonzero(present[m])
            put(f"{m}_hubness", rows, queries.hubness(vectors[m][rows]))
        return _batch(tile, columns)

    def _read(self, tile: pa.Table, modality: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Vectors (n, d), and bool (n,) each: which rows have a valid one, and a broken one."""
        row_ids = tile[f"{modality}_row"]
        embedded = row_ids.is_valid().to_numpy()
        vectors = np.zeros((tile.num_rows, self.table.dim), np.float32)
        broken = np.zeros(tile.num_rows, bool)
        if embedded.any():
            vectors[embedded], valid = self.table.read(row_ids.drop_null())
            broken[embedded] = ~valid
        return vectors, embedded & ~broken, broken

    def _entries(self, tile: pa.Table, broken: np.ndarray, modality: str) -> list[Entry]:
        rows = np.flatnonzero(broken)
        if not len(rows):
            return []
        samples = tile.take(pa.array(rows))
        names = take_rows(
            self.table.samples,
            samples["row"].to_pylist(),
            ["source", "key"],
        ).to_pylist()
        message = f"the vector of the {modality} is not of length 1, or a value is not a number"
        return [
            Entry(n["source"], n["key"], RULE, "unmeasured", sample, error=message)
            for n, sample in zip(names, samples["id"].to_pylist(), strict=True)
        ]


def _ids(column: pa.ChunkedArray) -> np.ndarray:
    return column.to_numpy(zero_copy_only=False).astype(str)


def _batch(tile: pa.Table, columns: dict[str, np.ndarray]) -> pa.RecordBatch:
    """Rows of `pairs`; NaN becomes null."""
    arrays = [tile["drop"].combine_chunks(), tile["id"].combine_chunks()]
    for field in islice(schema.PAIRS, 2, None):
        values = columns.get(field.name)
        if values is None:
            arrays.append(pa.nulls(tile.num_rows, field.type))
        else:
            null = np.isnan(values)
            arrays.append(pa.array(np.where(null, 0, values), mask=null).cast(field.type, False))
    return pa.RecordBatch.from_arrays(arrays, schema=schema.PAIRS)
