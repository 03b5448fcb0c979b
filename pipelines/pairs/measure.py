"""Measures samples tile by tile: what is drawn at random once, and then any rows beside it."""

from dataclasses import dataclass
from itertools import islice

import numpy as np
import pyarrow as pa

from pipelines.pairs.embedded_samples import Embedded
from pipelines.pairs.linear_head import LinearHead
from pipelines.pairs.signals import alike, compare, cosine, gram_volume
from store import spherical_kmeans
from store.arrays import as_matrix, is_unit_length
from store.config.signals import Pairs
from store.corrections.kernels.masks import IdIndex
from store.tables import schema
from store.tables.lance_tables import take
from store.tables.schema import MODALITIES
from store.tables.staging import Entry

PAIRS = (("text", "image"), ("text", "audio"), ("image", "audio"))
RULE = "pairs.vector"
_BLOCK = 8192  # vectors that are read at a time


@dataclass(frozen=True)
class Vectors:
    """A table of vectors at a version, and another of samples, which is asked for names alone."""

    uri: str
    version: int
    dim: int
    samples: str
    samples_version: int

    def read(self, rows: pa.Array | pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
        """Vectors (n, d) by row ids, and which of them are finite and of length 1 (n,)."""
        vectors = np.empty((len(rows), self.dim), np.float32)
        for start in range(0, len(rows), _BLOCK):
            some = rows.slice(start, _BLOCK).to_pylist()
            read = take(self.uri, self.version, some, ["vector"])["vector"]
            vectors[start : start + _BLOCK] = as_matrix(read)
        return vectors, is_unit_length(vectors)


class ReferenceBank:
    """The parts b of random samples that have vectors in both modalities, a and b."""

    def __init__(self, drawn: pa.Table, a: str, b: str, vectors: Vectors):
        rows, sound = vectors.read(drawn[f"{b}_row"])
        self.rows = rows[sound]
        self.alike = [(f"{m}_id", IdIndex(_ids(drawn[f"{m}_id"])[sound])) for m in (a, b)]

    def compare(self, a: np.ndarray, b: np.ndarray, rows: pa.Table) -> dict[str, np.ndarray]:
        """Signals of pairs, (n,) each. What shares a part with a row is left out of its bank, and
        so is the sample itself."""
        masked = alike(*(index.pairs(_ids(rows[column])) for column, index in self.alike))
        others = compare(a, b, bank=self.rows, masked=masked)
        return {"cosine": cosine(a, b), **others._asdict()}


@dataclass(frozen=True)
class Read:
    """Vectors (n, d) of samples by modality, zeros where there are none, and which have one (n,);
    a vector that cannot be measured counts as none, and is among the entries."""

    vectors: dict[str, np.ndarray]
    there: dict[str, np.ndarray]
    entries: list[Entry]


class PairScorer:
    """Gives samples their rows of `pairs`.

    Args:
        head: over image vectors of this space, or None.
    """

    def __init__(
        self, samples: Embedded, vectors: Vectors, asked: Pairs, head: LinearHead | None
    ) -> None:
        self.vectors = vectors
        self.head = head
        self.banks = {
            (a, b): ReferenceBank(samples.both(a, b, asked.bank), a, b, vectors) for a, b in PAIRS
        }
        self.centroids: dict[str, np.ndarray] = {}
        for modality in MODALITIES if asked.clusters else ():
            drawn = samples.parts(modality, spherical_kmeans.SAMPLE * asked.clusters)
            rows, sound = vectors.read(drawn[f"{modality}_row"])
            if sound.any():
                self.centroids[modality] = spherical_kmeans.train(rows[sound], asked.clusters)

    def read(self, tile: pa.Table) -> Read:
        """The vectors of some samples, as `Embedded.tiles` gives these."""
        found = {m: self._read(tile, m) for m in MODALITIES}
        entries = [e for m in MODALITIES for e in self._entries(tile, found[m][2], m)]
        vectors, there = ({m: found[m][n] for m in MODALITIES} for n in (0, 1))
        return Read(vectors, there, entries)

    def __call__(self, tile: pa.Table, read: Read) -> pa.RecordBatch:
        """Rows of `pairs` of some samples, of which `read` are the vectors."""
        made, there = read.vectors, read.there
        columns: dict[str, np.ndarray] = {}

        def put(name: str, rows: np.ndarray, values: np.ndarray) -> None:
            columns[name] = np.full(tile.num_rows, np.nan)
            columns[name][rows] = values

        for (a, b), bank in self.banks.items():
            rows = np.flatnonzero(there[a] & there[b])
            if len(rows):
                found = bank.compare(made[a][rows], made[b][rows], tile.take(pa.array(rows)))
                for what, values in found.items():
                    put(f"{a}_{b}_{what}", rows, values)
        rows = np.flatnonzero(there["text"] & there["image"] & there["audio"])
        if len(rows):
            parts = (made[m][rows] for m in MODALITIES)
            put("text_image_audio_volume", rows, gram_volume(*parts))
        if self.head is not None:
            rows = np.flatnonzero(there["image"])
            put("image_laion_aesthetic", rows, self.head(made["image"][rows]))
        for m, centroids in self.centroids.items():
            rows = np.flatnonzero(there[m])
            put(f"{m}_cluster", rows, spherical_kmeans.nearest(made[m][rows], centroids)[0])
        return _batch(tile, columns)

    def _read(self, tile: pa.Table, modality: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Vectors (n, d), which rows have one, and whose is broken."""
        places = tile[f"{modality}_row"]
        there = places.is_valid().to_numpy()
        vectors = np.zeros((tile.num_rows, self.vectors.dim), np.float32)
        broken = np.zeros(tile.num_rows, bool)
        if there.any():
            vectors[there], sound = self.vectors.read(places.drop_null())
            broken[there] = ~sound
        return vectors, there & ~broken, broken

    def _entries(self, tile: pa.Table, broken: np.ndarray, modality: str) -> list[Entry]:
        rows = np.flatnonzero(broken)
        if not len(rows):
            return []
        named = tile.take(pa.array(rows))
        at, version = self.vectors.samples, self.vectors.samples_version
        known = take(at, version, named["row"].to_pylist(), ["source", "key"]).to_pylist()
        said = f"the {modality}'s vector is not of length 1, or has what is no number"
        return [
            Entry(k["source"], k["key"], RULE, "unmeasured", sample, error=said)
            for k, sample in zip(known, named["id"].to_pylist(), strict=True)
        ]


def _ids(column: pa.ChunkedArray) -> np.ndarray:
    return column.to_numpy(zero_copy_only=False).astype(str)


def _batch(tile: pa.Table, columns: dict[str, np.ndarray]) -> pa.RecordBatch:
    arrays = [tile["drop"].combine_chunks(), tile["id"].combine_chunks()]
    for field in islice(schema.PAIRS, 2, None):
        values = columns.get(field.name)
        if values is None:
            arrays.append(pa.nulls(tile.num_rows, field.type))
        else:
            null = np.isnan(values)
            arrays.append(pa.array(np.where(null, 0, values), mask=null).cast(field.type, False))
    return pa.RecordBatch.from_arrays(arrays, schema=schema.PAIRS)
