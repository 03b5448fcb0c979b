"""Divide the hashes of bands by ranges, so that a task reads those of its range alone.

Signatures are read once for each round. A round has all bands of few texts, or one band of many.
Its hashes are divided by tasks: each reads a block of signatures, and keeps a piece for each group
of ranges. Then the ranges of the round are compared, by tasks that read the pieces of their group.

A piece lists each text once, with 40 bytes, and 12 bytes for each of its hashes in the group. So
while few texts are compared, a group has all ranges of a round. If a round has one band, each text
is in one group anyway; then a task compares all ranges of a group, and no piece is read twice. A
group has one range, or as many as keep the number of pieces of a round below `_PIECES`.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from pipelines.duplicates.pair_joins import Rows
from pipelines.duplicates.texts.minhash import band_hashes, band_starts, rows_a_band, sketches
from pipelines.engine.kept_values import Kept

HELD = 1 << 19  # new texts that a range should have
_HASHES = 1 << 25  # of a round with several bands
_DIVIDED = 1 << 21  # hashes of a task that divides them
_PIECES = 1 << 20  # of a round with one band
_READ = 1 << 14  # signatures, or hashes, that are read at a time


class Group(NamedTuple):
    """Ranges of hashes of some bands: of `of` ranges of one size, those with numbers in `parts`."""

    bands: range
    parts: range
    of: int


class Round(NamedTuple):
    """Bands that are compared at a time.

    Attributes:
        blocks: the rows of each task that divides hashes.
        old: the number of blocks of texts that were compared before.
        groups: of ranges.
    """

    blocks: list[range]
    old: int
    groups: list[Group]


class Piece(NamedTuple):
    """The hashes of a block that are in the ranges of a group.

    Attributes:
        row: (t,) int64, the texts.
        sketch: (t, 4) uint64, their sketches.
        key: (k,) uint64 hashes, by band and range.
        text: (k,) uint32, the text of each, as an index into `row`.
        ends: (ranges,) int64, where the hashes of each range end.
    """

    row: np.ndarray
    sketch: np.ndarray
    key: np.ndarray
    text: np.ndarray
    ends: np.ndarray


class InRanges(NamedTuple):
    """A task: ranges of a group that are compared.

    Attributes:
        pieces: of the group, in the order of rows.
        old: the number of pieces of texts that were compared before.
        group: all ranges of the pieces.
        ranges: those of the task.
    """

    pieces: Sequence[Kept]
    old: int
    group: Group
    ranges: Group


def rounds(threshold: float, count: int, first: int) -> Iterator[Round]:
    """The rounds that compare so many texts, of which those from `first` on are new."""
    bands, parts = len(band_starts(threshold)), max(1, -(-(count - first) // HELD))
    most = max(1, min(bands, _HASHES // max(count, 1)))
    step = -(-bands // -(-bands // most))  # as many in each round
    for band in range(0, bands, step):
        of = range(band, min(band + step, bands))
        size = _DIVIDED // len(of)
        old, new = _blocks(range(first), size), _blocks(range(first, count), size)
        groups = 1 if len(of) > 1 else max(1, min(parts, _PIECES // len(old + new)))
        divided = _blocks(range(parts), -(-parts // groups))
        yield Round(old + new, len(old), [Group(of, each, parts) for each in divided])


def _blocks(rows: range, size: int) -> list[range]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def tasks(of: Round, pieces: Sequence[Sequence[Kept]], new: int) -> Iterator[InRanges]:
    """The tasks that compare a round. Few texts are compared in several bands at once.

    Args:
        of: the round.
        pieces: of each block, for each group.
        new: the number of new texts.
    """
    step = max(1, HELD // max(new, 1))
    for number, group in enumerate(of.groups):
        of_group = [each[number] for each in pieces]
        if len(group.bands) == 1:
            yield InRanges(of_group, of.old, group, group)
            continue
        for band in group.bands[::step]:
            bands = range(band, min(band + step, group.bands.stop))
            for part in group.parts:
                ranges = Group(bands, range(part, part + 1), group.of)
                yield InRanges(of_group, of.old, group, ranges)


def divide(signed: Rows, threshold: float, of: Round, block: range) -> Iterator[Piece]:
    """The pieces of a block, for each group.

    Args:
        signed: (n, 128) uint16, the signatures; all zero for texts that are not compared.
        threshold: the least similarity.
        of: the round.
        block: the rows.
    """
    starts, rows = band_starts(threshold), rows_a_band(threshold)
    bands, parts = of.groups[0].bands, of.groups[0].of
    row, sketch = np.empty(len(block), np.int64), np.empty((len(block), 4), np.uint64)
    keys, count = np.empty((len(bands), len(block)), np.uint64), 0
    for start in range(block.start, block.stop, _READ):
        read = signed[start : min(start + _READ, block.stop)]
        compared = np.flatnonzero(read.view(np.uint64).any(axis=1))
        read, stop = read[compared], count + len(compared)
        row[count:stop], sketch[count:stop] = start + compared, sketches(read)
        for key, band in zip(keys, bands, strict=True):
            key[count:stop] = band_hashes(read, starts[band], rows)
        count = stop
    row, sketch, keys = row[:count], sketch[:count], keys[:, :count]
    divided = [_by_range(key, parts) for key in keys]
    for group in of.groups:
        if len(of.groups) == 1:
            text, ends = zip(*divided, strict=True)
            key = np.concatenate([key[each] for key, each in zip(keys, text, strict=True)])
            ends = np.concatenate([n * count + each for n, each in enumerate(ends)])
            yield Piece(row, sketch, key, np.concatenate(text), ends)
            continue
        ((text, ends),) = divided
        ends = ends[group.parts.start : group.parts.stop]
        begin = divided[0][1][group.parts.start - 1] if group.parts.start else 0
        chosen = text[begin : ends[-1]]
        index = np.arange(len(chosen), dtype=np.uint32)
        yield Piece(row[chosen], sketch[chosen], keys[0][chosen], index, ends - begin)


def _by_range(key: np.ndarray, parts: int) -> tuple[np.ndarray, np.ndarray]:
    """The order (n,) uint32 of hashes by ranges, and where each range ends, (parts,)."""
    if parts == 1:
        return np.arange(len(key), dtype=np.uint32), np.array([len(key)])
    part = (((key >> np.uint64(32)) * np.uint64(parts)) >> np.uint64(32)).astype(np.uint32)
    if parts <= 1 << 16:
        part = part.astype(np.uint16)  # is sorted faster
    order = np.argsort(part, kind="stable").astype(np.uint32)
    return order, np.cumsum(np.bincount(part, minlength=parts))


def read_range(
    pieces: Sequence[Kept], group: Group, band: int, part: int, low: int, high: int
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """The texts of a range in some pieces, with hashes from `low` to `high`, both included.

    Yields:
        (k,) uint64 hashes, (k,) int64 rows, and (k, 4) uint64 sketches, in the order of rows.
    """
    index = (band - group.bands.start) * len(group.parts) + part - group.parts.start
    for kept in pieces:
        piece: Piece = kept.read()
        begin = int(piece.ends[index - 1]) if index else 0
        for start in range(begin, int(piece.ends[index]), _READ):
            block = slice(start, min(start + _READ, int(piece.ends[index])))
            key, text = piece.key[block], piece.text[block]
            chosen = (key >= np.uint64(low)) & (key <= np.uint64(high))
            if not chosen.all():
                key, text = key[chosen], text[chosen]
            yield key, piece.row[text], piece.sketch[text]
