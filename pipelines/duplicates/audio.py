"""Find near-duplicate recordings by their fingerprints.

Candidates share a code of the fingerprint at about the same time, with at most one bit different.
They are verified by the share of equal bits. Haitsma and Kalker (2002) look candidates up in the
same way.

Only the first occurrence of a code in a recording counts. Codes that say nothing, as those of
silence or of a steady tone, are ignored: they repeat the code before, or have hardly any bits set,
or hardly any not set. What is ignored depends on the recording alone, so a pair is found or not
whatever else is in the corpus.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from pipelines.duplicates.pair_joins import Pairs, collect_pairs, distinct_pairs, equal_join
from pipelines.signals.scorers.audio_fingerprint import HOP, RATE, similarity
from store.arrays import ragged_ranges

_SHIFT = round(0.5 * RATE / HOP)  # codes; `similarity` tries shifts up to this
_SLOT = _SHIFT + 1  # codes a time slot
_FLIPS = np.r_[0, 1 << np.arange(32)].astype(np.uint64)  # no bit, or one of 32
_INFORMATIVE_BITS = (4, 28)  # least and most bits set in a code that counts
_ENTRIES = 1 << 22  # of the table of a block


def pairs(fingerprints: Sequence[bytes], threshold: float, first: int = 0) -> Pairs:
    """Find the pairs of recordings whose fingerprints have at least `threshold` equal bits.

    Args:
        fingerprints: as in the signal `audio_fingerprint`, little-endian uint32 codes.
        threshold: share of equal bits, 0 to 1.
        first: pairs of two recordings before it are left out.
    """
    code, time, row = _codes(fingerprints)
    slot = (time // _SLOT).astype(np.uint64) << np.uint64(32)
    rows = len(fingerprints)

    def blocks() -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        start, step = int(np.searchsorted(row, first)), _ENTRIES // (3 * len(_FLIPS))
        for begin in range(start, len(code), step):
            new = slice(begin, begin + step)
            stop = int(np.searchsorted(row, row[new][-1], "right"))
            # Codes less than a slot apart in time may be in neighbouring slots.
            neighbours = (1 << 32) * np.array([-1, 0, 1], np.int64)
            slots = slot[new][:, None, None] + neighbours.astype(np.uint64)[:, None]
            table = (slots | code[new][:, None, None] ^ _FLIPS).ravel()
            for entry, probe in equal_join(table, (slot | code)[:stop]):
                y = begin + entry // (3 * len(_FLIPS))
                close = (row[probe] < row[y]) & (np.abs(time[probe] - time[y]) <= _SHIFT)
                a, b = distinct_pairs(row[probe][close], row[y][close], rows)
                share = np.array(
                    [
                        similarity(fingerprints[i], fingerprints[j])
                        for i, j in zip(a, b, strict=True)
                    ],
                    np.float32,
                )
                near = share >= threshold
                yield a[near], b[near], share[near]

    return collect_pairs(blocks(), rows)


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
