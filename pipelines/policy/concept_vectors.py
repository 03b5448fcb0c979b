"""Match samples with concepts by vectors: what their images, recordings and captions show.

A concept's vector is that of its name, encoded as a text of the corpus's space. A sample has the
concepts that are nearest to each of its parts. Some concepts are near to all parts, so concepts
are corrected as items of a gallery are that parts search: by NNN (Chowdhury et al. 2024), on at
most 10,000 parts. Both sides are centred first, which takes away what modalities differ by.

The stage `decisions` stores the vectors in the table `concepts__{space}`, so that trying another
threshold runs no model.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from embedders.corpus_space import corpus_space
from pipelines.engine.array_files import ArrayFile
from pipelines.engine.encode_texts import encode_texts
from pipelines.policy.column_files import Columns
from pipelines.policy.concepts import Matches, read_concepts
from pipelines.policy.identity_order import Ids
from pipelines.policy.sample_vectors import check_vectors, read_vectors, sample_blocks
from store.arrow import as_matrix
from store.config.rules import Concepts
from store.corrections import fit
from store.errors import InputError, NotFoundError
from store.tables.concepts import concept_vectors
from store.tables.names import concepts_table, vectors_table
from store.workspace import Workspace

MOST_NAMES = 20_000  # so that a block of scores has a bounded size
_BANK = 10_000  # parts that the bias of concepts is fitted on
_BLOCK = 1024  # parts that are scored at a time


def encode_concepts(workspace: Workspace, concepts: Concepts) -> None:
    """Encode the names of a list that have no vector of the current encoder yet, and store them.

    Vectors of names that are no longer in the list are deleted.

    Raises:
        InputError: the list has more than 20,000 names, or the space has no tower of texts.
        NotFoundError: the space has no vectors yet.
    """
    check_vectors(workspace)
    names = read_concepts(workspace, concepts)
    if len(names) > MOST_NAMES:
        raise InputError(
            f"policy.concepts.names: {len(names):,} names; at most {MOST_NAMES:,} can be matched"
            " by vectors. Give a shorter list, or `match: names`"
        )
    space = corpus_space(workspace)
    if "text" not in space.towers:
        raise InputError(
            f"policy.concepts.match: {concepts.match} needs a space with a tower of texts;"
            f" {space.name!r} has: {', '.join(sorted(space.towers))}"
        )
    encoder, stored = space.fingerprint("text"), _stored(workspace)
    used = stored.filter((pc.field("encoder") == encoder) & pc.field("name").isin(names))
    missing = names.filter(pc.invert(pc.is_in(names, value_set=used["name"]))).to_pylist()
    if not missing and used.num_rows == stored.num_rows:
        return
    encoded = encode_texts(space.towers["text"], missing, "names of concepts")
    added = [{"name": n, "encoder": encoder, "vector": row} for n, row in encoded.items()]
    rows = pa.concat_tables([used, pa.Table.from_pylist(added, schema=stored.schema)])
    batches = rows.sort_by("name").to_batches()
    workspace.tables.replace(concepts_table(space.name), rows.schema, batches, None)


def match_vectors(
    workspace: Workspace, concepts: Concepts, names: pa.Array, samples: Columns, ids: Ids
) -> Matches:
    """The concepts that are nearest to the parts of samples.

    Args:
        workspace: the corpus.
        concepts: how many concepts of each part, and of which parts.
        names: as `read_concepts` gives them.
        samples: of which a column is `drop`.
        ids: the packed ids of given rows.

    Raises:
        InputError: the space has no tower of a modality.
        NotFoundError: a name has no vector of the current encoder yet.
    """
    usable, vectors = stored_vectors(workspace, names)
    pairs = [np.empty(0, np.int64)]
    with tempfile.TemporaryDirectory() as folder:
        every_row = np.arange(samples.num_rows)
        blocks = sample_blocks(samples, ids, every_row)
        parts, _ = read_vectors(workspace, blocks, concepts.modalities, Path(folder))
        for rows in parts.values():
            for found, nearest in nearest_concepts(rows, vectors, concepts.nearest):
                number = found[:, None] * len(names) + usable[nearest]
                pairs.append(number.reshape(-1))
    numbers = np.unique(np.concatenate(pairs))
    return Matches(names, *np.divmod(numbers, max(len(names), 1)))


def stored_vectors(workspace: Workspace, names: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """The numbers of the names that have a vector (k,), and their centred unit rows (k, d)."""
    space = corpus_space(workspace)
    rows = _stored(workspace).filter(pc.field("encoder") == space.fingerprint("text"))
    number = pc.index_in(names, value_set=rows["name"])
    if number.null_count:
        raise NotFoundError(
            f"the policy matches concepts by vectors, but {number.null_count:,} of {len(names):,}"
            f" names have none in the space {space.name!r} yet; `isotrope run` makes them"
        )
    column = rows["vector"].combine_chunks().take(number)
    usable = np.flatnonzero(np.asarray(pc.is_valid(column)))
    vectors = as_matrix(column.drop_null())
    vectors = vectors - vectors.mean(axis=0)
    return usable, vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def nearest_concepts(
    parts: ArrayFile | np.ndarray, vectors: np.ndarray, count: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The nearest concepts of parts, by corrected scores.

    Args:
        parts: (n, d) centred unit rows; rows of zeros have no vector, and are left out.
        vectors: (k, d) centred unit rows of concepts.
        count: of concepts for each part; at most k.

    Yields:
        The numbers of some parts (m,), and those of their concepts (m, count), the nearest first.
    """
    count = min(count, len(vectors))
    bank = parts[np.unique(np.linspace(0, len(parts) - 1, min(len(parts), _BANK)).astype(int))]
    bank = bank[bank.any(axis=1)]
    if not count or not len(bank):
        return
    bias = fit("nnn", gallery=vectors, query_bank=bank, gallery_bank=None).bias
    for start in range(0, len(parts), _BLOCK):
        block = parts[start : start + _BLOCK]
        rows = np.flatnonzero(block.any(axis=1))
        scores = block[rows] @ vectors.T - bias
        best = np.argpartition(-scores, count - 1, axis=1)[:, :count]
        order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1, kind="stable")
        yield start + rows, np.take_along_axis(best, order, axis=1)


def _stored(workspace: Workspace) -> pa.Table:
    """The rows of the table."""
    space = workspace.config.space
    dim = workspace.tables.open(vectors_table(space)).schema.field("vector").type.list_size
    return workspace.tables.scan(concepts_table(space), concept_vectors(dim))
