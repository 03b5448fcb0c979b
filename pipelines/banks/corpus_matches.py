"""Which queries are parts of the corpus: by their content, or by their vector.

Such a query has that part's id and cluster, so that it is masked against its own sample, and is
known where that sample is held out. Any other query has ids of its own that equal none.
"""

from dataclasses import dataclass

import lance
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.banks.query_files import BankQuery
from store.arrays import as_matrix, ragged_ranges
from store.tables.lance_tables import quote

SAME = 1e-3  # distance of unit vectors; the size of a batch moves one by 1e-5, half floats more
_PROBES = 4


@dataclass(frozen=True)
class CorpusIndex:
    """The corpus, as far as queries need to know it.

    Attributes:
        samples: kept samples: id, cluster, and the part ids.
        vectors: the space's vectors.
        fingerprints: of the space's encoders, by modality.
        held_out: clusters of validation and test pairs.
    """

    samples: pa.Table
    vectors: lance.LanceDataset
    fingerprints: dict[str, str]
    held_out: frozenset[str]


@dataclass(frozen=True)
class MatchedQuery:
    """A query and its row in the banks."""

    query: BankQuery
    part_id: str
    sample_id: str
    cluster: str
    split: str = ""
    origin: str = ""

    @property
    def modality(self) -> str:
        return self.query.modality


def match(known: CorpusIndex, modality: str, asked: list[BankQuery]) -> list[MatchedQuery]:
    """Queries of one modality, each with the ids that it has in the corpus, or its own."""
    same = _parts_by_vector(known, modality, [q for q in asked if q.vector is not None])
    names = [(q.part_id, *q.alike, *same.get(q.key, ())) for q in asked]
    column = f"{modality}_id"
    wanted = pa.array(sorted({name for several in names for name in several}), pa.string())
    there = known.samples.filter(pc.is_in(known.samples[column], value_set=wanted))
    rows = zip(*(there[c].to_pylist() for c in (column, "id", "cluster")), strict=True)
    corpus = {part: (part, sample, cluster) for part, sample, cluster in rows}
    placed = []
    for query, several in zip(asked, names, strict=True):
        own = (query.part_id,) * 3
        placed.append(MatchedQuery(query, *next((corpus[n] for n in several if n in corpus), own)))
    return placed


def _parts_by_vector(
    known: CorpusIndex, modality: str, asked: list[BankQuery]
) -> dict[str, list[str]]:
    """For the keys of queries, the parts of the corpus whose vector is theirs.

    The table's vectors pass once. Vectors nearer than `SAME` have projections on any unit vector
    nearer than `SAME`: sorted by one, and narrowed down by others, few are left to compare.
    """
    found: dict[str, list[str]] = {}
    if not asked:
        return found
    rows = np.array([query.vector for query in asked], np.float32)
    probes = np.random.default_rng(0).normal(size=(rows.shape[1], _PROBES)).astype(np.float32)
    probes /= np.linalg.norm(probes, axis=0)
    order = np.argsort(rows @ probes[:, 0], kind="stable")
    rows = rows[order]
    projected = rows @ probes
    here = f"modality = {quote(modality)} AND encoder = {quote(known.fingerprints[modality])}"
    for batch in known.vectors.to_batches(columns=["part_id", "vector"], filter=here):
        if not batch.num_rows:
            continue
        items = as_matrix(batch["vector"])
        seen = items @ probes
        low = np.searchsorted(projected[:, 0], seen[:, 0] - SAME, "left")
        high = np.searchsorted(projected[:, 0], seen[:, 0] + SAME, "right")
        many = high - low
        item = np.repeat(np.arange(len(items)), many)
        row = ragged_ranges(low, many)
        near = (np.abs(projected[row] - seen[item]) <= SAME).all(axis=1)
        item, row = item[near], row[near]
        near = np.linalg.norm(rows[row] - items[item], axis=1) <= SAME
        for i, r in zip(item[near], row[near], strict=True):
            found.setdefault(asked[order[r]].key, []).append(batch["part_id"][int(i)].as_py())
    return found
