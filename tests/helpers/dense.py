"""Reference implementations of the corrections: float64 loops over full matrices.

They are written from the formulas and share no code with `store.corrections`, so that agreement of
the two is evidence. Each function takes one gallery row g, the query bank B and the gallery bank H,
and returns (vector, bias) for ranking by q . vector - bias.
"""

import numpy as np


def norm(x):
    length = np.linalg.norm(x, axis=-1, keepdims=True)
    return x / np.where(length > 0, length, 1)


def unmasked(bank, bank_ids, row_id):
    """The bank rows whose id differs from that of a gallery row."""
    return np.array([b for b, i in zip(bank, bank_ids, strict=True) if i != row_id]).reshape(
        -1, bank.shape[1]
    )


def lse(x):
    largest = x.max()
    return largest + np.log(np.sum(np.exp(x - largest)))


def inverted_softmax(g, B, H, *, beta, size=None):
    """`size` is the size of the bank before masking."""
    size = len(B) if size is None else size
    return g, (lse(beta * (B @ g)) + np.log(size / len(B))) / beta


def dual_inverted_softmax(g, B, H, *, beta_query, beta_gallery, size=None, gallery_size=None):
    size, gallery_size = size or len(B), gallery_size or len(H)
    total = lse(beta_query * (B @ g)) + np.log(size / len(B))
    total += lse(beta_gallery * (H @ g)) + np.log(gallery_size / len(H))
    return g, total / (beta_query + beta_gallery)


def nnn(g, B, H, *, alpha, k):
    return g, alpha * np.sort(B @ g)[::-1][:k].mean()


def csls(g, B, H, *, k):
    return nnn(g, B, H, alpha=0.5, k=k)


def local_scaling(g, B, H, *, k):
    sigma = np.sqrt(max(2 - 2 * np.sort(B @ g)[::-1][:k][-1], 1e-6))
    return g / sigma, 1 / sigma


def invgc_local(g, B, H, *, r_gallery, r_query, k):
    def neighbour_mean(X):
        near = np.argsort(-(X @ g), kind="stable")[:k]
        return ((X[near] @ g)[:, None] * X[near]).sum(0) / len(near) if len(near) else 0 * g

    from_gallery = norm(g - r_gallery * neighbour_mean(H))
    from_query = norm(g - r_query * neighbour_mean(B))
    return norm(from_gallery / 2 + from_query / 2), 0.0


def invgc(g, B, H, *, r_gallery, r_query, full_B=None, full_H=None):
    """`full_B` and `full_H` are the banks before masking."""
    full_B, full_H = B if full_B is None else full_B, H if full_H is None else full_H

    def bank_mean(X, full_X):
        similarity = (full_H @ full_X.T).mean()
        return ((X @ g - similarity)[:, None] * X).sum(0) / len(X) if len(X) else 0 * g

    from_gallery = norm(g - r_gallery * bank_mean(H, full_H))
    from_query = norm(g - r_query * bank_mean(B, full_B))
    return norm(from_gallery / 2 + from_query / 2), 0.0


def centered(g, B, H):
    moved = norm(g - H.mean(0))
    return moved, B.mean(0) @ moved


def none(g, B, H):
    return g, 0.0


def top(scores, k):
    """The k best columns of each row; equal scores are ordered by the lower column."""
    return np.argsort(-scores, axis=1, kind="stable")[:, :k]
