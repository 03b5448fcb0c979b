"""The signals of pairs on plain arrays: how well the parts of a sample fit each other in a space.

All functions take unit rows, float32 (n, d); row i of each array belongs to sample i. A bank holds
rows of other samples, (m, d).
"""

from typing import NamedTuple

import numpy as np

from store.corrections.kernels.masks import NO_PAIRS, Pairs
from store.corrections.kernels.threads import Span, for_each_span
from store.corrections.kernels.topk import TopK
from store.errors import InputError

K = 10  # neighbours, as in CSLS
_ROUNDING = 1e-6  # of a cosine: a smaller difference counts as a tie


class Comparison(NamedTuple):
    """Pairs compared with a bank, float32 (n,) each; NaN where all bank rows are masked."""

    corrected: np.ndarray
    rank: np.ndarray


def cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Cosines of pairs, (n,), by which CLIP filters images and captions.

    Schuhmann et al. 2021, LAION-400M.

    Raises:
        InputError: the arrays differ in shape.
    """
    _check(a, b)
    return np.einsum("nd,nd->n", a, b)


def compare(
    a: np.ndarray, b: np.ndarray, *, bank: np.ndarray, masked: Pairs = NO_PAIRS, k: int = K
) -> Comparison:
    """Compare the partners b of a with random others: corrected cosines, and ranks.

    Corrected is s(a,b) - r(a), where r(a) is the mean of the k largest similarities of a to the
    bank, as in CSLS (Conneau et al. 2018). Above 0, the partner is nearer than the nearest others.
    All of r is subtracted, and only for a. A generic caption a is near to every image, so its r is
    as large as its cosine, and its pair scores lower than the pairs of specific captions. CSLS
    subtracts half of r for either side, to rank b for one a; a generic caption that is near enough
    to all images would still score high then.

    Rank is the share of the bank that is nearer to a than its own partner: 0 where no bank row is
    nearer, about 0.5 for a partner drawn at random. Ties count half. It shows noisy correspondence
    whatever the scale of the space (after PC2, Duan et al. 2024, and CromSS, Liu et al. 2024, which
    weight pairs by how well they can be distinguished from random ones).

    Memory: 1,024 rows times the bank, for each core.

    Args:
        bank: rows of other samples in the modality of b, (m, d).
        masked: (rows, bank rows) that are left out, each coordinate once, in any order; see
            `union`.
        k: neighbours in r.

    Raises:
        InputError: a and b differ in shape.
    """
    _check(a, b)
    own, rows = cosine(a, b), len(a)
    order = np.argsort(masked[0], kind="stable")
    mask_rows, mask_columns = masked[0][order], masked[1][order]
    near, nearer = np.empty(rows, np.float32), np.empty(rows, np.float32)

    def work(span: Span) -> None:
        block, hidden = slice(*span), slice(*np.searchsorted(mask_rows, span))
        scores = a[block] @ bank.T
        scores[mask_rows[hidden] - span[0], mask_columns[hidden]] = -np.inf
        near[block] = top_mean(scores, k)
        above = np.count_nonzero(scores > own[block, None] + _ROUNDING, axis=1)
        above_or_tied = np.count_nonzero(scores >= own[block, None] - _ROUNDING, axis=1)
        nearer[block] = (above + above_or_tied) / 2

    for_each_span(work, rows, a)
    unmasked = len(bank) - np.bincount(mask_rows, minlength=rows)
    others = np.where(unmasked > 0, unmasked, np.nan).astype(np.float32)
    corrected = np.where(unmasked > 0, own - near, np.nan).astype(np.float32)
    return Comparison(corrected, nearer / others)


def union(*coordinates: Pairs) -> Pairs:
    """The union of several lists of (row, column) coordinates, each coordinate once.

    `compare` masks such a union: the bank rows that share either part with a row.
    """
    rows, columns = np.concatenate([np.stack(pairs) for pairs in coordinates], axis=1)
    width = columns.max(initial=0) + 1
    return np.divmod(np.unique(rows * width + columns), width)


def gram_volume(*parts: np.ndarray) -> np.ndarray:
    """The volume that a sample's vectors span, (n,): 0 for one direction, 1 if all are orthogonal.

    It is the square root of the determinant of their Gram matrix (Cicchetti et al. 2024, "Gramian
    Multimodal Representation Learning and Alignment"), here for image, text and audio together.

    Args:
        parts: unit rows (n, d) of each modality, two or more.

    Raises:
        InputError: there is one array only, or the arrays differ in shape.
    """
    if len(parts) < 2:
        raise InputError(f"a volume needs at least two vectors per sample, not {len(parts)}")
    for part in parts[1:]:
        _check(parts[0], part)
    stacked = np.stack(parts, axis=1).astype(np.float64)
    gram = stacked @ stacked.transpose(0, 2, 1)
    return np.sqrt(np.clip(np.linalg.det(gram), 0, 1)).astype(np.float32)


def top_mean(scores: np.ndarray, k: int = K) -> np.ndarray:
    """Mean of the k largest values of each row, (n,). -inf is left out; 0 if all are -inf."""
    top = TopK(scores, min(k, scores.shape[1]))
    top.add(scores, 0)
    best = top.result()[0]
    finite = best > -np.inf
    return np.where(finite, best, 0).sum(axis=1) / np.maximum(finite.sum(axis=1), 1)


def _check(a: np.ndarray, b: np.ndarray) -> None:
    if a.ndim != 2 or a.shape != b.shape:
        raise InputError(f"rows of pairs must be of one shape (n, d), not {a.shape} and {b.shape}")
