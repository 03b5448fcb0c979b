"""Find near-duplicate texts by MinHash with banded LSH, verified by the exact Jaccard similarity.

MinHash and banding: Broder 1997; Leskovec, Rajaraman, Ullman, "Mining of Massive Datasets",
chapter 3. Signatures are 128 minima, of which 16 bits each are kept (b-bit MinHash, Li and Koenig
2010). Bands have as many rows as give a recall of 0.99 at the threshold; recall is higher above it.
Texts with fewer than 8 shingles are never near to others, because they match by chance.

Texts with similar sets may still say different things: "a photo of a red cat ..." and the same of
a dog are one template. So the words that only one of two texts has are compared too
(`same_template`).
"""

from collections.abc import Callable, Iterator, Sequence

import duckdb
import numpy as np
import pyarrow as pa

from pipelines.duplicates.pair_joins import Block, Rows, bounded_slices
from pipelines.duplicates.texts.large_buckets import CANDIDATES, index_texts
from pipelines.duplicates.texts.shingles import (
    count_shared,
    normalise_texts,
    shingle,
    shingle_sets,
)
from pipelines.duplicates.texts.spelling import split_words
from pipelines.duplicates.texts.templates import same_template
from pipelines.engine.duckdb_scratch import execute, query_value

HASHES = 128
RECALL = 0.99
LEAST_SHINGLES = 8  # of a text that is compared
LARGE_BUCKET = 64  # new texts in a bucket; above it not all pairs are candidates
_TEXTS, _CHUNK = 4096, 1 << 14  # texts, and shingles, that are hashed at a time
_SIGNED = 1 << 14  # signatures that are read at a time
_COMPARED, _VERIFIED = 1 << 14, 1 << 14  # pairs at a time
_rng = np.random.default_rng(20240229)
_MULTIPLY = _rng.integers(0, 1 << 32, HASHES, np.uint32) | np.uint32(1)
_ADD = _rng.integers(0, 1 << 32, HASHES, np.uint32)
# The texts of a band that share a bucket with another text, at least one of which is new.
_BUCKETS = (
    """
CREATE OR REPLACE TEMP TABLE buckets AS
SELECT band_{band} AS bucket, count(*) FILTER (row >= {first}) AS new
FROM bands GROUP BY bucket HAVING count(*) > 1 AND new > 0
""",
    """
CREATE OR REPLACE TEMP TABLE members AS
SELECT bucket, row, COLUMNS('sketch_.*'), new > {most} AS is_large
FROM bands JOIN buckets ON bucket = band_{band}
""",
    # A bucket has the number of its band in its lowest bits.
    """
INSERT INTO large SELECT (bucket & ~(127::UBIGINT)) | {band}, row FROM members WHERE is_large
""",
)
_SKETCH = 4  # words of 64 bits: two bits of each minimum
_CHANGED = "xor(x.sketch_{0}, y.sketch_{0})"
_LOW_BITS = f"{0x5555555555555555}::UBIGINT"
_DIFFERENT = " + ".join(
    f"bit_count(({_CHANGED} | ({_CHANGED} >> 1)) & {_LOW_BITS})".format(word)
    for word in range(_SKETCH)
)
# Minima with different sketches are different. So only pairs that may be near are compared in full.
_SMALL = f"""
SELECT x.row AS x, y.row AS y FROM members AS x JOIN members AS y USING (bucket)
WHERE NOT x.is_large AND NOT y.is_large AND y.row >= {{first}} AND x.row < y.row
  AND {_DIFFERENT} <= {HASHES} - {{least}}
"""


def signatures(texts: Sequence[str]) -> np.ndarray:
    """The MinHash signatures of texts, (n, 128) uint16; all zero for texts that are too short."""
    blocks = [texts[i : i + _TEXTS] for i in range(0, len(texts), _TEXTS)]
    return np.concatenate([np.empty((0, HASHES), np.uint16), *map(_signatures, blocks)])


def near_blocks(
    connection: duckdb.DuckDBPyConnection,
    signed: Rows,
    texts: Callable[[np.ndarray], Sequence[str]],
    threshold: float,
    first: int = 0,
) -> Iterator[Block]:
    """Find the pairs of near-duplicate texts.

    Whether a pair is found depends on its two texts alone, not on the other texts. A pair can come
    several times.

    Args:
        connection: to a database. Its temporary tables have the buckets of all texts, in which
            there may be more than memory holds.
        signed: (n, 128) uint16, the signatures.
        texts: reads the texts of some rows.
        threshold: the least Jaccard similarity of the sets of shingles.
        first: pairs of two texts before it are left out.
    """
    for x, y in _batches(_candidates(connection, signed, texts, threshold, first)):
        yield _verified(x, y, texts, threshold)


def rows_a_band(threshold: float) -> int:
    """The most rows a band with which a pair at the threshold shares a band 99 times in 100."""
    fits = [r for r in range(1, 17) if 1 - (1 - threshold**r) ** (HASHES // r) >= RECALL]
    return max(fits, default=1)


def least_equal(threshold: float) -> float:
    """How many minima of two signatures must be equal for a candidate.

    The number is binomial. Three standard deviations below its mean at the threshold lose one pair
    in a thousand.
    """
    return HASHES * threshold - 3 * (HASHES * threshold * (1 - threshold)) ** 0.5


def _signatures(texts: Sequence[str]) -> np.ndarray:
    shingles = shingle(normalise_texts(texts))
    signed = np.zeros((HASHES, len(texts)), np.uint16)
    starts, counts = shingles.starts, np.diff(shingles.starts)
    long_enough = np.flatnonzero(counts >= LEAST_SHINGLES)
    hashes = _hash_shingles(shingles.values)
    index = 0
    while index < len(long_enough):  # a chunk stays in the processor's cache while it is hashed
        begin = starts[long_enough[index]]
        end = int(np.searchsorted(starts[long_enough + 1], begin + _CHUNK, "right"))
        stop = max(index + 1, end)
        chunk = long_enough[index:stop]
        lengths = counts[chunk]
        if (chunk[-1] + 1 - chunk[0]) == len(chunk):
            values = hashes[begin : starts[chunk[-1] + 1]]
        else:
            values = np.concatenate([hashes[starts[t] : starts[t + 1]] for t in chunk])
        offsets = np.cumsum(lengths) - lengths
        permuted = np.empty_like(values)
        for row in range(HASHES):
            np.multiply(values, _MULTIPLY[row], out=permuted)
            np.add(permuted, _ADD[row], out=permuted)
            signed[row, chunk] = np.minimum.reduceat(permuted, offsets) >> 8
        index = stop
    return np.ascontiguousarray(signed.T)


def _hash_shingles(values: np.ndarray) -> np.ndarray:
    """Hash (n,) uint64 to (n,) uint32: SplitMix64 without its last step.

    Stored signatures depend on these hashes. So this is not `store.arrays.splitmix64`, whose last
    step changes one bit of the result.
    """
    z = values * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (z >> np.uint64(32)).astype(np.uint32)


def _candidates(
    connection: duckdb.DuckDBPyConnection,
    signed: Rows,
    texts: Callable[[np.ndarray], Sequence[str]],
    threshold: float,
    first: int,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs that share a band and have enough equal minima.

    Those that share a small bucket come once, at their first band. Others can come again.
    """
    rows = rows_a_band(threshold)
    starts = np.arange(0, HASHES - rows + 1, rows)
    least = least_equal(threshold)
    connection.execute("CREATE OR REPLACE TEMP TABLE large (bucket UBIGINT, row BIGINT)")
    _load_bands(connection, signed, starts, rows)

    def shared(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The pairs with enough equal minima that share a band, and the first such band."""
        equal = signed[x] == signed[y]
        shares = np.logical_and.reduceat(equal[:, : starts[-1] + rows], starts, axis=1)
        near = (equal.sum(axis=1) >= least) & shares.any(axis=1)
        return x[near], y[near], shares[near].argmax(axis=1)

    for number in range(len(starts)):
        settings = {"band": number, "first": first, "most": LARGE_BUCKET, "least": least}
        for statement in _BUCKETS:
            connection.execute(statement.format(**settings))
        for x, y in _fetched(connection, _SMALL.format(**settings)):
            x, y, band = shared(x, y)
            yield x[band == number], y[band == number]
    if query_value(connection, "SELECT count(*) FROM large"):
        index_texts(connection, texts)
        for x, y in _fetched(connection, CANDIDATES.format(first=first)):
            x, y, _ = shared(x, y)
            yield x, y


def _load_bands(
    connection: duckdb.DuckDBPyConnection, signed: Rows, starts: np.ndarray, rows: int
) -> None:
    """Make the table `bands` of the texts that are long enough.

    Its columns are `row`, a hash of each band, and the words of the sketch.
    """
    names = ["row", *(f"band_{number}" for number in range(len(starts)))]
    names += [f"sketch_{word}" for word in range(_SKETCH)]
    columns = pa.schema([(names[0], pa.int64()), *((name, pa.uint64()) for name in names[1:])])

    def batches() -> Iterator[pa.RecordBatch]:
        for begin in range(0, len(signed), _SIGNED):
            block = signed[begin : begin + _SIGNED]
            long_enough = np.flatnonzero(block.any(axis=1))
            block = block[long_enough]
            keys = (_band(block, start, rows) for start in starts.tolist())
            columns_of_block = (begin + long_enough, *keys, *_sketch(block).T)
            arrays = [pa.array(column) for column in columns_of_block]
            yield pa.RecordBatch.from_arrays(arrays, schema=columns)

    stream = pa.RecordBatchReader.from_batches(columns, batches())
    execute(connection, "CREATE OR REPLACE TEMP TABLE bands AS FROM stream", stream=stream)


def _sketch(signed: np.ndarray) -> np.ndarray:
    """Two bits of each minimum of signatures (n, 128), (n, 4) uint64."""
    bits = (signed[:, :, None] >> np.arange(2, dtype=np.uint16)) & np.uint16(1)
    return np.packbits(bits.astype(np.uint8).reshape(len(signed), -1), axis=1).view(np.uint64)


def _fetched(
    connection: duckdb.DuckDBPyConnection, query: str
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The pairs x, y of a query, streamed."""
    for batch in connection.sql(query).to_arrow_reader(_COMPARED):
        yield batch["x"].to_numpy(), batch["y"].to_numpy()


def _band(signed: np.ndarray, start: int, rows: int) -> np.ndarray:
    """A hash of each signature's minima from `start` to `start + rows`, (n,) uint64."""
    key = np.zeros(len(signed), np.uint64)
    for row in range(start, start + rows):
        key = (key ^ signed[:, row]) * np.uint64(0x9E3779B97F4A7C15)
        key ^= key >> np.uint64(29)
    return key


def _batches(
    blocks: Iterator[tuple[np.ndarray, np.ndarray]],
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The same pairs, `_VERIFIED` at a time, so that the fixed costs of a batch do not matter."""
    x = y = np.empty(0, np.int64)
    for a, b in blocks:
        x, y = np.r_[x, a], np.r_[y, b]
        while len(x) >= _VERIFIED:
            yield x[:_VERIFIED], y[:_VERIFIED]
            x, y = x[_VERIFIED:], y[_VERIFIED:]
    yield x, y


def _verified(
    x: np.ndarray, y: np.ndarray, texts: Callable[[np.ndarray], Sequence[str]], threshold: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The pairs of rows that are near-duplicates, and their Jaccard similarity, float32."""
    rows, index = np.unique(np.r_[x, y], return_inverse=True)
    normalised = np.array(normalise_texts(texts(rows)), object)
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
    near = similarity >= threshold
    return x[near], y[near], similarity[near]


def _distinct_texts(
    normalised: np.ndarray, a: np.ndarray, b: np.ndarray
) -> tuple[list[str], np.ndarray, np.ndarray]:
    """The texts of pairs (k,), each once, and the indices of the pairs' sides in them."""
    distinct, index = np.unique(np.r_[a, b], return_inverse=True)
    return normalised[distinct].tolist(), index[: len(a)], index[len(a) :]
