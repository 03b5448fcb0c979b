"""Near-duplicate recordings: those that share a fingerprint's code at about the same time, verified
by the share of equal bits (Haitsma and Kalker 2002 look candidates up in the same way).

A code counts where it is heard first in a recording, and one bit of it may differ. Codes that
say nothing, of silence or of a tone that stands, are those that repeat the code before or have
hardly any bits set. What is ignored is a matter of the recording alone, so that the pairs do not
depend on what else is in the corpus.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from pipelines.duplicates.pair_joins import Pairs, collect, distinct, equal
from pipelines.signals.scorers.audio_fingerprint import HOP, RATE, similarity
from store.arrays import ragged_ranges

_SHIFT = round(0.5 * RATE / HOP)  # codes by which `similarity` lets one begin later
_STEP = _SHIFT + 1
_FLIPS = np.r_[0, 1 << np.arange(32)].astype(np.uint64)
_TELLING = (4, 28)  # bits of a code that are set
_ENTRIES = 1 << 22


def pairs(fingerprints: Sequence[bytes], threshold: float, first: int = 0) -> Pairs:
    """Pairs with `threshold` or more of their bits equal, of which at least one is at `first` or
    after it.

    Args:
        fingerprints: as the signal `audio_fingerprint` has them.
    """
    code, time, row = _codes(fingerprints)
    slot = (time // _STEP).astype(np.uint64) << np.uint64(32)
    rows = len(fingerprints)

    def found() -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        start, step = int(np.searchsorted(row, first)), _ENTRIES // (3 * len(_FLIPS))
        for begin in range(start, len(code), step):
            new = slice(begin, begin + step)
            stop = int(np.searchsorted(row, row[new][-1], "right"))
            # Either slot beside its own may hold what is less than one slot away.
            beside = (1 << 32) * np.array([-1, 0, 1], np.int64)
            near = slot[new][:, None, None] + beside.astype(np.uint64)[:, None]
            table = (near | code[new][:, None, None] ^ _FLIPS).ravel()
            for entry, probe in equal(table, (slot | code)[:stop]):
                y = begin + entry // (3 * len(_FLIPS))
                close = (row[probe] < row[y]) & (np.abs(time[probe] - time[y]) <= _SHIFT)
                a, b = distinct(row[probe][close], row[y][close], rows)
                share = np.array(
                    [
                        similarity(fingerprints[i], fingerprints[j])
                        for i, j in zip(a, b, strict=True)
                    ],
                    np.float32,
                )
                same = share >= threshold
                yield a[same], b[same], share[same]

    return collect(found(), rows)


def _codes(fingerprints: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Codes that tell something, uint64, when they are heard, and whose they are, int64."""
    lengths = np.array([len(f) // 4 for f in fingerprints], np.int64)
    code = np.frombuffer(b"".join(fingerprints), "<u4").astype(np.uint64)
    row = np.repeat(np.arange(len(lengths)), lengths)
    time = ragged_ranges(0, lengths)
    held = np.zeros(len(code), bool)
    held[1:] = (code[1:] == code[:-1]) & (row[1:] == row[:-1])
    bits = np.bitwise_count(code)
    telling = ~held & (bits >= _TELLING[0]) & (bits <= _TELLING[1])
    kept = np.flatnonzero(telling)
    # Of a code that is heard again and again the first time is enough.
    _, once = np.unique(
        np.stack([row[kept].astype(np.uint64), code[kept]]), axis=1, return_index=True
    )
    kept = kept[np.sort(once)]
    return code[kept], time[kept], row[kept]
