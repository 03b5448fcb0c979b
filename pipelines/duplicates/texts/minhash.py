"""Near-duplicate texts: MinHash with banded LSH (Broder 1997; Leskovec, Rajaraman, Ullman,
"Mining of Massive Datasets", chapter 3), candidates verified by the exact Jaccard similarity.

Signatures are 128 minima, of which 16 bits each are kept (b-bit MinHash, Li and Koenig 2010). Bands
have as many rows as leave a recall of 0.99 at the threshold; above it recall is higher. Texts
with fewer than 8 shingles say too little to be near to another: they match only themselves.

Similar sets can still tell of other things: "a photo of a red cat ..." and the same of a dog are
one template. So words that only one of two texts has count too (`same_template`): spelled alike
they are a typo, else another subject, or another number.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from pipelines.duplicates.pair_joins import Pairs, collect, distinct, spans
from pipelines.duplicates.texts.large_buckets import Crowd
from pipelines.duplicates.texts.shingles import fold, sets, shared, shingle
from pipelines.duplicates.texts.spelling import words
from pipelines.duplicates.texts.templates import same_template
from store.arrays import ragged_ranges

HASHES = 128
RECALL = 0.99
LEAST = 8  # shingles
CROWD = 64  # texts that share a band: above it they are not compared each with each
_TEXTS, _CHUNK = 4096, 1 << 14
_COMPARED, _VERIFIED = 1 << 14, 1 << 14  # pairs at once
_rng = np.random.default_rng(20240229)
_MULTIPLY = _rng.integers(0, 1 << 32, HASHES, np.uint32) | np.uint32(1)
_ADD = _rng.integers(0, 1 << 32, HASHES, np.uint32)


def signatures(texts: Sequence[str]) -> np.ndarray:
    """Uint16 (n, 128); all zero for texts that are too short."""
    blocks = [texts[i : i + _TEXTS] for i in range(0, len(texts), _TEXTS)]
    return np.concatenate([np.empty((0, HASHES), np.uint16), *map(_signatures, blocks)])


def pairs(
    signed: np.ndarray,
    texts: Callable[[np.ndarray], Sequence[str]],
    threshold: float,
    first: int = 0,
) -> Pairs:
    """Pairs of texts with a Jaccard similarity of `threshold` or more that are no template, of
    which at least one is at `first` or after it. Whether a pair is found depends on its two texts
    alone, not on what else there is.

    Args:
        signed: uint16 (n, 128), their signatures.
        texts: gives the texts of some rows.
    """
    long_enough: np.ndarray = np.any(signed, axis=1)

    def found() -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        for x, y in _batches(_candidates(signed, long_enough, texts, threshold, first)):
            yield _verified(x, y, texts, threshold)

    return collect(found(), len(signed))


def rows_a_band(threshold: float) -> int:
    """The most rows with which a pair at the threshold meets in some band, 99 times in 100."""
    fits = [r for r in range(1, 17) if 1 - (1 - threshold**r) ** (HASHES // r) >= RECALL]
    return max(fits, default=1)


def least(threshold: float) -> float:
    """How many minima two texts must share to be looked at. Agreement is binomial: three
    deviations below the threshold lose one pair in a thousand."""
    return HASHES * threshold - 3 * (HASHES * threshold * (1 - threshold)) ** 0.5


def _signatures(texts: Sequence[str]) -> np.ndarray:
    shingles = shingle(fold(texts))
    signed = np.zeros((HASHES, len(texts)), np.uint16)
    starts, many = shingles.starts, np.diff(shingles.starts)
    enough = np.flatnonzero(many >= LEAST)
    mixed = _mix(shingles.values)
    at = 0
    while at < len(enough):  # chunks stay in the processor's cache while they are hashed
        begin = starts[enough[at]]
        stop = max(at + 1, int(np.searchsorted(starts[enough + 1], begin + _CHUNK, "right")))
        some = enough[at:stop]
        lengths = many[some]
        if (some[-1] + 1 - some[0]) == len(some):
            values = mixed[begin : starts[some[-1] + 1]]
        else:
            values = np.concatenate([mixed[starts[t] : starts[t + 1]] for t in some])
        offsets = np.cumsum(lengths) - lengths
        hashed = np.empty_like(values)
        for row in range(HASHES):
            np.multiply(values, _MULTIPLY[row], out=hashed)
            np.add(hashed, _ADD[row], out=hashed)
            signed[row, some] = np.minimum.reduceat(hashed, offsets) >> 8
        at = stop
    return np.ascontiguousarray(signed.T)


def _mix(values: np.ndarray) -> np.ndarray:
    """Uint32 hashes of uint64 (the finaliser of splitmix64)."""
    z = values * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (z >> np.uint64(32)).astype(np.uint32)


def _candidates(
    signed: np.ndarray,
    long_enough: np.ndarray,
    texts: Callable[[np.ndarray], Sequence[str]],
    threshold: float,
    first: int,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs that share a band and whose signatures agree about as often as they should, each at
    the first band that it shares."""
    rows = rows_a_band(threshold)
    kept = np.flatnonzero(long_enough)
    enough_agree = least(threshold)
    starts = np.arange(0, HASHES - rows + 1, rows)
    bands = [_groups(_band(signed, start, rows)[kept], kept >= first) for start in starts.tolist()]
    crowded = np.zeros(len(kept), bool)
    for band in bands:
        crowded[band.member[band.many]] = True
    crowd = Crowd(kept[crowded], texts) if crowded.any() else None
    for number, band in enumerate(bands):
        for x, y in _in_groups(kept, band, first, crowd):
            for at in range(0, len(x), _COMPARED):
                a, b = x[at : at + _COMPARED], y[at : at + _COMPARED]
                agree = signed[a] == signed[b]
                enough = agree.sum(axis=1) >= enough_agree
                a, b, agree = a[enough], b[enough], agree[enough]
                shared = np.logical_and.reduceat(agree[:, : starts[-1] + rows], starts, axis=1)
                here = shared.argmax(axis=1) == number
                yield a[here], b[here]


@dataclass(frozen=True)
class _Groups:
    """Those that share a band with another, group by group: their places, the numbers of their
    groups from 0 on, and whether these have too many new ones to compare them with all."""

    member: np.ndarray
    group: np.ndarray
    many: np.ndarray


def _groups(keys: np.ndarray, new: np.ndarray) -> _Groups:
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    begins = np.r_[True, ordered[1:] != ordered[:-1]][: len(keys)]
    group = np.cumsum(begins) - 1
    fresh = np.bincount(group, new[order]) if len(group) else group
    shared = ((np.bincount(group) > 1) & (fresh > 0))[group] if len(group) else begins
    member, group = order[shared], group[shared]
    group = np.unique(group, return_inverse=True)[1]
    many = np.bincount(group, new[member]) > CROWD if len(group) else begins[:0]
    return _Groups(member, group, many[group])


def _in_groups(
    kept: np.ndarray, band: _Groups, first: int, crowd: Crowd | None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    few = ~band.many
    rows, group = kept[band.member[few]], band.group[few]
    size = np.bincount(group, minlength=1)
    begin = (np.cumsum(size) - size)[group]
    new = np.flatnonzero(rows >= first)
    for some in spans(size[group[new]]):
        here = new[some]
        x = rows[ragged_ranges(begin[here], size[group[here]])]
        y = np.repeat(rows[here], size[group[here]])
        yield x[x < y], y[x < y]
    if crowd and band.many.any():
        rows, group = kept[band.member[band.many]], band.group[band.many]
        for x, y in crowd.candidates(rows, group, first):
            yield distinct(x, y, int(kept[-1]) + 1)


def _band(signed: np.ndarray, start: int, rows: int) -> np.ndarray:
    key = np.zeros(len(signed), np.uint64)
    for row in range(start, start + rows):
        key = (key ^ signed[:, row]) * np.uint64(0x9E3779B97F4A7C15)
        key ^= key >> np.uint64(29)
    return key


def _batches(
    blocks: Iterator[tuple[np.ndarray, np.ndarray]],
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The same pairs, so many at once that what is made for a batch is worth it."""
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
    rows, place = np.unique(np.r_[x, y], return_inverse=True)
    folded = np.array(fold(texts(rows)), object)
    long = np.array([len(t) for t in folded], np.int64)
    a, b = place[: len(x)], place[len(x) :]
    similarity = np.full(len(x), -1, np.float32)
    for some in spans(long[a] + long[b]):
        here, one, other = _told(folded, a[some], b[some])
        copies = ~same_template(words(here), one, other)
        pairs = np.arange(len(x))[some][copies]
        here, one, other = _told(folded, a[pairs], b[pairs])
        shingled = sets(shingle(here))
        sizes, both = np.diff(shingled.starts), shared(shingled, one, other)
        similarity[pairs] = both / np.maximum(sizes[one] + sizes[other] - both, 1)
    near = similarity >= threshold
    return x[near], y[near], similarity[near]


def _told(
    folded: np.ndarray, a: np.ndarray, b: np.ndarray
) -> tuple[list[str], np.ndarray, np.ndarray]:
    """The texts that pairs are of, each once, and the pairs' places in them."""
    once, place = np.unique(np.r_[a, b], return_inverse=True)
    return folded[once].tolist(), place[: len(a)], place[len(a) :]
