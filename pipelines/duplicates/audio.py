"""Find near-duplicate recordings by their fingerprints.

Candidates share a code of the fingerprint at about the same time, with at most one bit different.
They are verified by the share of equal bits. Haitsma and Kalker (2002) look candidates up in the
same way.

Only the first occurrence of a code in a recording counts. Codes that say nothing, as those of
silence or of a steady tone, are ignored: they repeat the code before, or have hardly any bits set,
or hardly any not set. What is ignored depends on the recording alone, so a pair is found or not
whatever else is in the corpus.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np

from pipelines.duplicates.pair_joins import PROBES, Block, Rows, distinct_pairs, sorted_join
from pipelines.engine.array_files import ArrayFile
from pipelines.engine.ray_tasks import streams_in_order
from pipelines.engine.shared_rows import share
from pipelines.signals.scorers.audio_fingerprint import HOP, RATE, similarity
from store.arrays import ragged_ranges

_SHIFT = round(0.5 * RATE / HOP)  # codes; `similarity` tries shifts up to this
_SLOT = _SHIFT + 1  # codes a time slot
_FLIPS = np.r_[0, 1 << np.arange(32)].astype(np.uint64)  # no bit, or one of 32
_INFORMATIVE_BITS = (4, 28)  # least and most bits set in a code that counts
_STEP = (1 << 22) // (3 * len(_FLIPS))  # codes of a task, whose table has 4 million entries
_SLOT_UNIT = 1 << 32
_READ, _COMPARED = 512, 4096  # recordings that are read, and pairs that are compared, at a time
_CODE = np.dtype([("code", "<u4"), ("time", "<i4"), ("row", "<i8")])
# indices (k,) -> the signal `audio_fingerprint`: little-endian uint32 codes.
Fingerprints: TypeAlias = Callable[[np.ndarray], Sequence[bytes]]


def near_blocks(
    read: Fingerprints,
    rows: int,
    threshold: float,
    folder: Path,
    first: int = 0,
    *,
    on_ray: bool = False,
) -> Iterator[Block]:
    """Find the pairs of recordings whose fingerprints have at least `threshold` equal bits.

    Args:
        read: reads the fingerprints of some recordings; picklable if tasks run on Ray.
        rows: the number of recordings.
        threshold: share of equal bits, 0 to 1.
        folder: for a file of the codes of all recordings, of which there may be more than memory
            holds.
        first: pairs of two recordings before it are left out.
        on_ray: compare by Ray tasks; else in this process.

    Returns:
        Blocks of pairs with the share of equal bits. A pair may come several times.
    """
    blocks = (np.arange(start, min(start + _READ, rows)) for start in range(0, rows, _READ))
    coded = streams_in_order(_coded, read, blocks, on_ray=on_ray)
    codes = ArrayFile.of(folder / "codes", coded, _CODE)
    search = _Search(share(codes, on_ray), read, threshold, first)
    starts = range(0, len(codes), _STEP)
    yield from streams_in_order(_near, search, starts, on_ray=on_ray)


@dataclass(frozen=True)
class _Search:
    """What each task reads."""

    codes: Rows
    read: Fingerprints
    threshold: float
    first: int


def _near(search: _Search, begin: int) -> Iterator[Block]:
    """The near pairs whose later recording has one of the codes from `begin` on."""
    for x, y in _candidates(search.codes, search.first, begin):
        for start in range(0, len(x), _COMPARED):
            a, b = x[start : start + _COMPARED], y[start : start + _COMPARED]
            distinct, index = np.unique(np.r_[a, b], return_inverse=True)
            pairs = zip(*index.reshape(2, -1).tolist(), strict=True)
            of_pairs = search.read(distinct)
            equal = np.array([similarity(of_pairs[i], of_pairs[j]) for i, j in pairs], np.float32)
            near = equal >= search.threshold
            yield a[near], b[near], equal[near]


def _candidates(codes: Rows, first: int, begin: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs of recordings that share a code, the earlier one first; each once in a block."""
    neighbours = (_SLOT_UNIT * np.array([-1, 0, 1], np.int64)).astype(np.uint64)
    new = codes[begin : begin + _STEP]
    new = new[new["row"] >= first]
    # Codes less than a slot apart in time may be in neighbouring slots.
    slots = _slots(new)[:, None, None] + neighbours[:, None]
    table = (slots | new["code"].astype(np.uint64)[:, None, None] ^ _FLIPS).ravel()
    order = np.argsort(table)
    ordered = table[order]
    for start in range(0, begin + _STEP if len(new) else 0, PROBES):
        old = codes[start : min(start + PROBES, begin + _STEP)]
        probes = _slots(old) | old["code"].astype(np.uint64)
        for entry, x in sorted_join(order, ordered, probes):
            one, other = old[x], new[entry // (3 * len(_FLIPS))]
            close = np.abs(one["time"] - other["time"]) <= _SHIFT
            close &= one["row"] < other["row"]
            yield distinct_pairs(one["row"][close], other["row"][close])


def _slots(codes: np.ndarray) -> np.ndarray:
    return (codes["time"] // _SLOT).astype(np.uint64) * np.uint64(_SLOT_UNIT)


def _coded(read: Fingerprints, rows: np.ndarray) -> Iterator[np.ndarray]:
    """The codes that count of some recordings, (n,) records of `_CODE`."""
    code, time, row = _codes(read(rows))
    block = np.empty(len(code), _CODE)
    block["code"], block["time"], block["row"] = code, time, rows[row]
    yield block


def _codes(fingerprints: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The codes that count, each once a recording.

    Returns:
        (n,) uint64 codes, (n,) int64 times in codes, and (n,) int64 rows of the recordings,
        sorted by row and time.
    """
    lengths = np.array([len(f) // 4 for f in fingerprints], np.int64)
    code = np.frombuffer(b"".join(fingerprints), "<u4").astype(np.uint64)
    row = np.repeat(np.arange(len(lengths)), lengths)
    time = ragged_ranges(0, lengths)
    repeats = np.zeros(len(code), bool)
    repeats[1:] = (code[1:] == code[:-1]) & (row[1:] == row[:-1])
    bits = np.bitwise_count(code)
    informative = ~repeats & (bits >= _INFORMATIVE_BITS[0]) & (bits <= _INFORMATIVE_BITS[1])
    kept = np.flatnonzero(informative)
    row_and_code = np.stack([row[kept].astype(np.uint64), code[kept]])
    _, first_occurrence = np.unique(row_and_code, axis=1, return_index=True)
    kept = kept[np.sort(first_occurrence)]
    return code[kept], time[kept], row[kept]
