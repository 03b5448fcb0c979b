"""Find the queries that are parts of the corpus, by their content or by their vector.

Such a query gets the ids and the cluster of that part. So it is masked against its own sample, and
it is left out of the bank if that sample is held out. Any other query gets ids of its own, which
are equal to none of the corpus.
"""

from dataclasses import dataclass

import lance
import numpy as np

from pipelines.banks.query_files import BankQuery
from pipelines.decisions.kept_samples import KeptSamples
from store.arrays import ragged_ranges
from store.arrow import as_matrix
from store.tables.lance_tables import quote

# Unit vectors at most this far apart are the same. The size of the encoded batch moves a vector by
# about 1e-5, storage as half-precision floats by more.
SAME = 1e-3
_PROBES = 4  # random directions that vectors are projected on before they are compared


@dataclass(frozen=True)
class CorpusIndex:
    """The columns and tables of the corpus that queries are matched with.

    Attributes:
        samples: the kept samples.
        vectors: the table of the space's vectors.
        fingerprints: of the space's encoders, by modality.
        held_out: the clusters of validation and test pairs.
    """

    samples: KeptSamples
    vectors: lance.LanceDataset
    fingerprints: dict[str, str]
    held_out: frozenset[str]


@dataclass(frozen=True)
class MatchedQuery:
    """A query and its values in the table of banks."""

    query: BankQuery
    part_id: str
    sample_id: str
    cluster: str
    split: str = ""
    origin: str = ""

    @property
    def modality(self) -> str:
        return self.query.modality


def match_corpus(
    corpus: CorpusIndex, modality: str, queries: list[BankQuery]
) -> list[MatchedQuery]:
    """Give each query of one modality the ids of its part in the corpus, or ids of its own."""
    by_vector = _parts_by_vector(corpus, modality, [q for q in queries if q.vector is not None])
    names = [(q.part_id, *q.aliases, *by_vector.get(q.key, ())) for q in queries]
    column = f"{modality}_id"
    samples = corpus.samples.having(column, (name for several in names for name in several))
    rows = zip(*(samples[c].to_pylist() for c in (column, "id", "cluster")), strict=True)
    ids_by_part = {part: (part, sample, cluster) for part, sample, cluster in rows}
    matches = []
    for query, several in zip(queries, names, strict=True):
        own_ids = (query.part_id,) * 3
        ids = next((ids_by_part[name] for name in several if name in ids_by_part), own_ids)
        matches.append(MatchedQuery(query, *ids))
    return matches


def _parts_by_vector(
    corpus: CorpusIndex, modality: str, queries: list[BankQuery]
) -> dict[str, list[str]]:
    """The parts of the corpus with the same vector as a query, by the query's key.

    The table of vectors is read once, batch by batch. Vectors at most `SAME` apart have projections
    on any unit vector at most `SAME` apart. So queries are sorted by one projection, candidates
    are found by bisection and filtered by the other projections, and only few are compared in full.
    """
    matches: dict[str, list[str]] = {}
    if not queries:
        return matches
    rows = np.array([query.vector for query in queries], np.float32)
    probes = np.random.default_rng(0).normal(size=(rows.shape[1], _PROBES)).astype(np.float32)
    probes /= np.linalg.norm(probes, axis=0)
    order = np.argsort(rows @ probes[:, 0], kind="stable")
    rows = rows[order]
    projected_rows = rows @ probes
    encoder = corpus.fingerprints[modality]
    condition = f"modality = {quote(modality)} AND encoder = {quote(encoder)}"
    for batch in corpus.vectors.to_batches(columns=["part_id", "vector"], filter=condition):
        if not batch.num_rows:
            continue
        items = as_matrix(batch["vector"])
        projected = items @ probes
        low = np.searchsorted(projected_rows[:, 0], projected[:, 0] - SAME, "left")
        high = np.searchsorted(projected_rows[:, 0], projected[:, 0] + SAME, "right")
        item = np.repeat(np.arange(len(items)), high - low)
        row = ragged_ranges(low, high - low)
        near = (np.abs(projected_rows[row] - projected[item]) <= SAME).all(axis=1)
        item, row = item[near], row[near]
        near = np.linalg.norm(rows[row] - items[item], axis=1) <= SAME
        for i, r in zip(item[near], row[near], strict=True):
            matches.setdefault(queries[order[r]].key, []).append(batch["part_id"][int(i)].as_py())
    return matches
