"""Signals of pairs: how well the parts of a sample fit each other in a space, on plain arrays.

All take unit rows, float32 (n, d), row i of each being of sample i. A bank is of other samples'
rows, (m, d).
"""

from typing import NamedTuple

import numpy as np

from store.corrections.kernels.masks import NO_PAIRS, Pairs
from store.corrections.kernels.threads import Span, each
from store.corrections.kernels.topk import TopK
from store.errors import InputError

K = 10  # neighbours, as CSLS takes them
_ROUNDING = 1e-6  # of a cosine: what is nearer than this is equally near


class Compared(NamedTuple):
    """What pairs are like beside others, (n,) float32 each; NaN where there are no others."""

    corrected: np.ndarray
    rank: np.ndarray


def cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(n,) cosines, as CLIP filters images and captions by (Schuhmann et al. 2021, LAION-400M)."""
    _check(a, b)
    return np.einsum("nd,nd->n", a, b)


def compare(
    a: np.ndarray, b: np.ndarray, *, bank: np.ndarray, masked: Pairs = NO_PAIRS, k: int = K
) -> Compared:
    """Partners b of a among random others: corrected cosines, and ranks.

    Corrected is s(a,b) - r(a), r(a) being the mean of the k largest similarities of a to the bank,
    as in CSLS (Conneau et al. 2018), taken off whole and on the side of a alone: above 0 the
    partner is nearer than the nearest others. A generic caption is near to every image: its r is
    as large as its cosine, and its pairs fall below honest ones. Where half of r is taken off
    either side, as CSLS does to rank b for one a, they do not, once they are near enough to all.

    The rank is the share of the bank that is nearer to a than its own partner is: 0 where none is,
    0.5 for a partner drawn at random; rows as near as the partner count half. Noisy correspondence
    shows in it whatever the space's scale (after PC2, Duan et al. 2024, and CromSS, Liu et al.
    2024, which weigh pairs by how well they are told from random ones).

    Args:
        bank: other samples' rows in the modality of b.
        masked: (rows, bank rows), coordinates in any order, each once, that are left out; see
            `alike`.

    Memory: 1,024 rows by the bank, a core.
    """
    _check(a, b)
    own, rows = cosine(a, b), len(a)
    order = np.argsort(masked[0], kind="stable")
    mask_rows, mask_columns = masked[0][order], masked[1][order]
    near, nearer = np.empty(rows, np.float32), np.empty(rows, np.float32)

    def work(span: Span) -> None:
        here, hidden = slice(*span), slice(*np.searchsorted(mask_rows, span))
        scores = a[here] @ bank.T
        scores[mask_rows[hidden] - span[0], mask_columns[hidden]] = -np.inf
        near[here] = _top_mean(scores, k)
        above = np.count_nonzero(scores > own[here, None] + _ROUNDING, axis=1)
        level = np.count_nonzero(scores >= own[here, None] - _ROUNDING, axis=1)
        nearer[here] = (above + level) / 2

    each(work, rows, a)
    left = len(bank) - np.bincount(mask_rows, minlength=rows)
    some = np.where(left > 0, left, np.nan).astype(np.float32)
    return Compared(np.where(left > 0, own - near, np.nan).astype(np.float32), nearer / some)


def alike(*found: Pairs) -> Pairs:
    """Coordinates that are in any of several lists, each once: what `compare` leaves out, such as
    the bank's rows that share one part or the other with a row."""
    rows, columns = np.concatenate([np.stack(pairs) for pairs in found], axis=1)
    width = columns.max(initial=0) + 1
    return np.divmod(np.unique(rows * width + columns), width)


def gram_volume(*parts: np.ndarray) -> np.ndarray:
    """(n,) volume of the body that a sample's vectors span, 0 (one direction) to 1 (orthogonal).

    The root of the determinant of their Gram matrix (Cicchetti et al. 2024, "Gramian Multimodal
    Representation Learning and Alignment"); for image, text and audio at once.
    """
    if len(parts) < 2:
        raise InputError(f"a volume needs two vectors a sample or more, not {len(parts)}")
    for part in parts[1:]:
        _check(parts[0], part)
    stacked = np.stack(parts, axis=1).astype(np.float64)
    gram = stacked @ stacked.transpose(0, 2, 1)
    return np.sqrt(np.clip(np.linalg.det(gram), 0, 1)).astype(np.float32)


def _top_mean(scores: np.ndarray, k: int) -> np.ndarray:
    """(n,) mean of the k largest of each row, or of as many as are not -inf; 0 of none."""
    top = TopK(scores, min(k, scores.shape[1]))
    top.add(scores, 0)
    best = top.result()[0]
    there = best > -np.inf
    return np.where(there, best, 0).sum(axis=1) / np.maximum(there.sum(axis=1), 1)


def _check(a: np.ndarray, b: np.ndarray) -> None:
    if a.ndim != 2 or a.shape != b.shape:
        raise InputError(f"rows of pairs must be of one shape (n, d), not {a.shape} and {b.shape}")
