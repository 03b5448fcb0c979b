"""Signals of pairs: how well the parts of a sample fit each other in a space, on plain arrays.

All take unit rows, float32 (n, d), row i of each being of sample i. Banks are rows of other
samples, (m, d); where ids are given, a bank's row of the same sample is left out.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from store.corrections.fitting import fit
from store.errors import InputError

_TILE = 1024


def cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(n,) cosines, as CLIP filters images and captions by (Schuhmann et al. 2021, LAION-400M)."""
    _check(a, b)
    return np.einsum("nd,nd->n", a, b)


def corrected_cosine(
    a: np.ndarray,
    b: np.ndarray,
    *,
    bank_a: np.ndarray,
    bank_b: np.ndarray,
    ids: Any = None,
    bank_ids: Any = None,
    k: int = 10,
) -> np.ndarray:
    """(n,) cosines less what makes hubs of either side: s(a,b) - r(a)/2 - r(b)/2.

    r(a) is the mean of the k largest similarities of a to the bank of b's modality, and r(b) the
    other way round: half of CSLS (Conneau et al. 2018; `store.corrections.csls`). A generic
    caption is near to every image: its r is large, and its pairs fall below honest ones.

    Args:
        bank_a, bank_b: pairs of other samples, (m, d), in the modalities of a and b.
    """
    _check(a, b)
    _check(bank_a, bank_b)
    bias = [
        fit(
            "csls",
            gallery=rows,
            query_bank=others,
            gallery_bank=own,
            gallery_ids=ids,
            query_bank_ids=bank_ids,
            gallery_bank_ids=bank_ids,
            k=k,
        ).bias
        for rows, others, own in ((a, bank_b, bank_a), (b, bank_a, bank_b))
    ]
    return (cosine(a, b) - bias[0] - bias[1]).astype(np.float32)


def partner_rank(
    a: np.ndarray, b: np.ndarray, *, bank_b: np.ndarray, ids: Any = None, bank_ids: Any = None
) -> np.ndarray:
    """(n,) share of the bank that is nearer to a than its own partner b is: 0 where none is, 0.5
    for a partner drawn at random. Rows as near as the partner count half.

    Noisy correspondence shows in it whatever the space's scale (after PC2, Duan et al. 2024, and
    CromSS, Liu et al. 2024, which weigh pairs by how well they are told from random ones).
    """
    _check(a, b)
    own, out = cosine(a, b), np.empty(len(a), np.float32)
    for rows, nearness in _tiles(a, bank_b):
        partner = own[rows, None]
        near = np.isclose(nearness, partner, rtol=0, atol=1e-6)
        weight = np.where(near, 0.5, nearness > partner)
        there = np.ones(weight.shape, bool)
        if ids is not None and bank_ids is not None:
            there = np.asarray(ids)[rows, None] != np.asarray(bank_ids)[None]
        out[rows] = (weight * there).sum(1) / np.maximum(there.sum(1), 1)
    return out


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


def _tiles(a: np.ndarray, bank: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    for start in range(0, len(a), _TILE):
        rows = slice(start, min(start + _TILE, len(a)))
        yield rows, a[rows] @ bank.T


def _check(a: np.ndarray, b: np.ndarray) -> None:
    if a.ndim != 2 or a.shape != b.shape:
        raise InputError(f"rows of pairs must be of one shape (n, d), not {a.shape} and {b.shape}")
