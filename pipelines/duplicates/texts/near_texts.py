"""Find near-duplicate texts by banded MinHash, verified by the exact Jaccard similarity.

Texts with similar sets may still say different things: "a photo of a red cat ..." and the same of
a dog are one template. So the words that only one of two texts has are compared too
(`same_template`).

Candidates of each range of hashes are found and verified by one task. Texts in large buckets are
only listed there; further tasks find and verify candidates among them.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeAlias

import duckdb
import numpy as np
import pyarrow as pa

from pipelines.duplicates.pair_joins import Block, Rows, bounded_slices, buffered
from pipelines.duplicates.texts import large_buckets
from pipelines.duplicates.texts.band_ranges import InRanges, Piece, Round, divide, rounds, tasks
from pipelines.duplicates.texts.buckets import Listed, candidates, share_a_band
from pipelines.duplicates.texts.shingles import (
    count_shared,
    normalise_texts,
    shingle,
    shingle_sets,
)
from pipelines.duplicates.texts.spelling import split_words
from pipelines.duplicates.texts.templates import same_template
from pipelines.engine.duckdb_scratch import execute
from pipelines.engine.ray_tasks import After, kept_parts, streams_in_order
from pipelines.engine.shared_rows import share

_VERIFIED = 1 << 14  # pairs at a time
_INSERTED = 1 << 20  # texts in large buckets at a time
Texts: TypeAlias = Callable[[np.ndarray], Sequence[str]]  # reads the texts of some rows


@dataclass(frozen=True)
class _Search:
    """What each task reads."""

    signed: Rows
    texts: Texts
    threshold: float
    first: int


def near_blocks(
    connection: duckdb.DuckDBPyConnection,
    folder: Path,
    signed: Rows,
    texts: Texts,
    threshold: float,
    first: int = 0,
    *,
    on_ray: bool = False,
) -> Iterator[Block]:
    """Find the pairs of near-duplicate texts.

    Whether a pair is found depends on its two texts alone, not on the other texts. A pair can come
    several times.

    Args:
        connection: to a database. A temporary table lists the texts in large buckets, of which
            there may be more than memory holds.
        folder: for scratch files.
        signed: (n, 128) uint16, the signatures (`minhash.signatures`).
        texts: reads the texts of some rows; picklable if the tasks run on Ray.
        threshold: the least Jaccard similarity of the sets of shingles.
        first: pairs of two texts before it are left out.
        on_ray: run the tasks on Ray; else in this process.
    """
    search = _Search(share(signed, on_ray), texts, threshold, first)
    connection.execute("CREATE OR REPLACE TEMP TABLE large (bucket UBIGINT, row BIGINT)")
    of_ranges = _range_tasks(search, folder, on_ray)
    listed, size = list[Listed](), 0
    for found in streams_in_order(_near_in_ranges, search, of_ranges, on_ray=on_ray):
        if not isinstance(found, Listed):
            yield found
            continue
        listed.append(found)
        size += len(found.row)
        if size >= _INSERTED:
            _insert(connection, listed)
            listed, size = [], 0
    _insert(connection, listed)
    buckets = large_buckets.bucket_tasks(connection)
    yield from streams_in_order(_near_in_buckets, search, buckets, on_ray=on_ray)


def _insert(connection: duckdb.DuckDBPyConnection, listed: list[Listed]) -> None:
    batches = [pa.record_batch([each.bucket, each.row], ["bucket", "row"]) for each in listed]
    if batches:
        rows = pa.Table.from_batches(batches)
        execute(connection, "INSERT INTO large FROM stream", stream=rows.to_reader())


def _range_tasks(search: _Search, folder: Path, on_ray: bool) -> Iterator[After]:
    """The tasks of each round, whose hashes are divided when those of the round before run."""
    count = len(search.signed)
    for each in rounds(search.threshold, count, search.first):
        with TemporaryDirectory(dir=folder) as name:
            blocks, groups = each.blocks, len(each.groups)
            dividing = (search.signed, search.threshold, each)
            kept = kept_parts(_divide, dividing, blocks, groups, Path(name), on_ray=on_ray)
            for of in tasks(each, kept.values, count - search.first):
                yield After(of, kept.done)


def _divide(dividing: tuple[Rows, float, Round], block: range) -> Iterator[Piece]:
    return divide(*dividing, block)


def _near_in_ranges(search: _Search, of: InRanges) -> Iterator[Block | Listed]:
    """The near pairs of some ranges, and the texts in their large buckets."""
    x = y = np.empty(0, np.int64)
    for found in candidates(search.signed, search.threshold, of):
        if isinstance(found, Listed):
            if len(found.row):
                yield found
            continue
        x, y = np.r_[x, found[0]], np.r_[y, found[1]]
        while len(x) >= _VERIFIED:
            yield _verified(search, x[:_VERIFIED], y[:_VERIFIED])
            x, y = x[_VERIFIED:], y[_VERIFIED:]
    yield _verified(search, x, y)


def _near_in_buckets(search: _Search, of: large_buckets.Buckets) -> Iterator[Block]:
    """The near pairs in some large buckets."""
    for pairs in buffered(large_buckets.candidates(search.texts, search.first, of)):
        x, y, _ = share_a_band(search.signed, *pairs, search.threshold)
        for start in range(0, len(x), _VERIFIED):
            block = slice(start, start + _VERIFIED)
            yield _verified(search, x[block], y[block])


def _verified(search: _Search, x: np.ndarray, y: np.ndarray) -> Block:
    """The pairs of rows that are near-duplicates, and their Jaccard similarity, float32."""
    rows, index = np.unique(np.r_[x, y], return_inverse=True)
    normalised = np.array(normalise_texts(search.texts(rows)), object)
    lengths = np.array([len(t) for t in normalised], np.int64)
    a, b = index[: len(x)], index[len(x) :]
    similarity = np.full(len(x), -1, np.float32)
    for block in bounded_slices(lengths[a] + lengths[b]):
        block_texts, one, other = _distinct_texts(normalised, a[block], b[block])
        is_copy = ~same_template(split_words(block_texts), one, other)
        copies = np.arange(len(x))[block][is_copy]
        copy_texts, one, other = _distinct_texts(normalised, a[copies], b[copies])
        sets = shingle_sets(shingle(copy_texts))
        sizes, shared = np.diff(sets.starts), count_shared(sets, one, other)
        similarity[copies] = shared / np.maximum(sizes[one] + sizes[other] - shared, 1)
    near = similarity >= search.threshold
    return x[near], y[near], similarity[near]


def _distinct_texts(
    normalised: np.ndarray, a: np.ndarray, b: np.ndarray
) -> tuple[list[str], np.ndarray, np.ndarray]:
    """The texts of pairs (k,), each once, and the indices of the pairs' sides in them."""
    distinct, index = np.unique(np.r_[a, b], return_inverse=True)
    return normalised[distinct].tolist(), index[: len(a)], index[len(a) :]
