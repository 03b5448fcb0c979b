"""Measures the signals of pairs of samples, one tile of samples at a time.

Reference banks and cluster centroids are made once, from random samples of the whole corpus.
"""

from dataclasses import dataclass
from functools import partial
from itertools import islice

import numpy as np
import pyarrow as pa

from pipelines.pairs.embedded_samples import EmbeddedSamples
from pipelines.pairs.linear_head import LinearHead
from pipelines.pairs.mismatch import Mixture, fit_mixture
from pipelines.pairs.sentinels import Sentinels, draw_sentinels
from pipelines.pairs.signals import compare, cosine, gram_volume, union
from store import spherical_kmeans
from store.arrays import is_unit_length
from store.arrow import as_matrix
from store.config.signals import Pairs
from store.corrections.kernels.masks import IdIndex
from store.tables import schema
from store.tables.schema import MODALITIES
from store.tables.staging import Entry
from store.tables.table_version import TableVersion, take_rows

MODALITY_PAIRS = (("text", "image"), ("text", "audio"), ("image", "audio"))
RULE = "pairs.vector"
_RANDOM_PARTNERS = 4  # of each pair of a bank
_READ_ROWS = 8192  # vectors that are read at a time


@dataclass(frozen=True)
class VectorTable:
    """A version of a space's table of vectors, and of `samples`.

    `samples` is read only for source and key of samples with a broken vector.
    """

    vectors: TableVersion
    dim: int
    samples: TableVersion

    def read(self, row_ids: pa.Array | pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
        """Read vectors by row id.

        Returns:
            Vectors float32 (n, d), and bool (n,): which are finite and of length 1.
        """
        vectors = np.empty((len(row_ids), self.dim), np.float32)
        for start in range(0, len(row_ids), _READ_ROWS):
            block = row_ids.slice(start, _READ_ROWS).to_pylist()
            column = take_rows(self.vectors, block, ["vector"])["vector"]
            vectors[start : start + _READ_ROWS] = as_matrix(column)
        return vectors, is_unit_length(vectors)


class ReferenceBank:
    """Random other partners for pairs of two modalities, a and b.

    Attributes:
        vectors: float32 (m, d), the parts b of random samples that have vectors in both modalities.
        mixture: of mismatched and matching pairs; None until `fit` is called, or if there are too
            few pairs.
        matching: vectors (k, d) of both parts of the bank's pairs that are probably no mismatches;
            None as long as `mixture` is.
    """

    def __init__(self, drawn: pa.Table, a: str, b: str, table: VectorTable):
        vectors, valid = table.read(drawn[f"{b}_row"])
        self.vectors = vectors[valid]
        self.mixture: Mixture | None = None
        self.matching: tuple[np.ndarray, np.ndarray] | None = None
        self._samples, self._names = drawn.filter(pa.array(valid)), (a, b)
        self._indexes = [(f"{m}_id", IdIndex(_ids(self._samples[f"{m}_id"]))) for m in (a, b)]

    def fit(self, table: VectorTable) -> None:
        """Fit the mixture on the bank's own pairs, and on random partners among them."""
        a, b = self._names
        vectors, valid = table.read(self._samples[f"{a}_row"])
        a_vectors, b_vectors = vectors[valid], self.vectors[valid]
        ids = self._samples.select([f"{a}_id", f"{b}_id"]).filter(pa.array(valid))
        own = self.compare(a_vectors, b_vectors, ids)["corrected"]
        of_random = [own[:0]]
        for shift in range(1, min(_RANDOM_PARTNERS + 1, len(b_vectors))):
            # The samples are in the order of their ids, which are hashes.
            partners = np.roll(np.arange(len(b_vectors)), shift)
            partner_ids = ids[f"{b}_id"].take(pa.array(partners))
            others = ids.set_column(1, f"{b}_id", partner_ids)
            is_other = _ids(partner_ids) != _ids(ids[f"{b}_id"])
            corrected = self.compare(a_vectors, b_vectors[partners], others)["corrected"]
            of_random.append(corrected[is_other])
        self.mixture = fit_mixture(own, np.concatenate(of_random))
        if self.mixture is not None:
            matches = self.mixture.probability(own) <= 0.5
            self.matching = a_vectors[matches], b_vectors[matches]

    def compare(self, a: np.ndarray, b: np.ndarray, tile: pa.Table) -> dict[str, np.ndarray]:
        """The signals of pairs, by their suffix: `cosine`, `corrected`, `rank`, and `mismatch` if a
        mixture was fitted; float32 (n,) each.

        A row's own sample is masked in the bank, and so is every sample that shares a part with it.

        Args:
            a, b: unit rows (n, d) of the two modalities.
            tile: the samples of these rows.
        """
        masked = union(*(index.pairs(_ids(tile[column])) for column, index in self._indexes))
        comparison = compare(a, b, bank=self.vectors, masked=masked)
        signals = {"cosine": cosine(a, b), **comparison._asdict()}
        if self.mixture is not None:
            signals["mismatch"] = self.mixture.probability(comparison.corrected)
        return signals


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
        samples: the samples from which the banks and centroids are drawn.
        table: of their vectors.
        settings: the section `pairs` of corpus.yaml.
        head: over the image vectors of this space, or None.
    """

    def __init__(
        self,
        samples: EmbeddedSamples,
        table: VectorTable,
        settings: Pairs,
        head: LinearHead | None,
    ) -> None:
        self.table = table
        self.head = head
        self.banks = {
            (a, b): ReferenceBank(samples.draw_pairs(a, b, settings.bank), a, b, table)
            for a, b in MODALITY_PAIRS
        }
        for bank in self.banks.values() if settings.mismatch else ():
            bank.fit(table)
        self.centroids: dict[str, np.ndarray] = {}
        for modality in MODALITIES if settings.clusters else ():
            drawn = samples.draw_parts(
                modality, spherical_kmeans.ROWS_PER_CENTROID * settings.clusters
            )
            vectors, valid = table.read(drawn[f"{modality}_row"])
            if valid.any():
                self.centroids[modality] = spherical_kmeans.train_centroids(
                    vectors[valid], settings.clusters
                )

        self.sentinels: dict[str, Sentinels] = {}
        if settings.sentinels:
            self.sentinels = draw_sentinels(partial(self._drawn, samples), settings.sentinels)

    def _drawn(self, samples: EmbeddedSamples, modality: str, count: int) -> np.ndarray:
        """The vectors of random parts."""
        vectors, valid = self.table.read(samples.draw_parts(modality, count)[f"{modality}_row"])
        return vectors[valid]

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
                signals = bank.compare(vectors[a][rows], vectors[b][rows], paired)
                for suffix, values in signals.items():
                    put(f"{a}_{b}_{suffix}", rows, values)
        rows = np.flatnonzero(present["text"] & present["image"] & present["audio"])
        if len(rows):
            parts = (vectors[m][rows] for m in MODALITIES)
            put("text_image_audio_volume", rows, gram_volume(*parts))
        if self.head is not None:
            rows = np.flatnonzero(present["image"])
            put("image_laion_aesthetic", rows, self.head(vectors["image"][rows]))
        for m, centroids in self.centroids.items():
            rows = np.flatnonzero(present[m])
            put(
                f"{m}_cluster",
                rows,
                spherical_kmeans.nearest_centroids(vectors[m][rows], centroids)[0],
            )
        for m, asked in self.sentinels.items():
            rows = np.flatnonzero(present[m])
            put(f"{m}_hubness", rows, asked.hubness(vectors[m][rows]))
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
