"""The plainest float64 references of the corrections: dense loops over whole matrices.

Written from the formulas alone and sharing nothing with `store.corrections`, so that agreement
means something. Each returns (vectors, bias) for ranking by q . vectors - bias.
"""

import numpy as np


def norm(x):
    length = np.linalg.norm(x, axis=-1, keepdims=True)
    return x / np.where(length > 0, length, 1)


def shown(bank, g, bank_ids=None, g_id=None):
    """The bank rows that a gallery row is measured by."""
    if bank_ids is None or g_id is None:
        return bank
    return np.array([b for b, i in zip(bank, bank_ids, strict=True) if i != g_id]).reshape(
        -1, bank.shape[1]
    )


def lse(x):
    largest = x.max()
    return largest + np.log(np.sum(np.exp(x - largest)))


def inverted_softmax(g, B, H, *, beta, size=None):
    size = len(B) if size is None else size
    return g, (lse(beta * (B @ g)) + np.log(size / len(B))) / beta


def dual_inverted_softmax(g, B, H, *, beta_query, beta_gallery, size=None, gallery_size=None):
    size, gallery_size = size or len(B), gallery_size or len(H)
    both = lse(beta_query * (B @ g)) + np.log(size / len(B))
    both += lse(beta_gallery * (H @ g)) + np.log(gallery_size / len(H))
    return g, both / (beta_query + beta_gallery)


def nnn(g, B, H, *, alpha, k):
    return g, alpha * np.sort(B @ g)[::-1][:k].mean()


def csls(g, B, H, *, k):
    return nnn(g, B, H, alpha=0.5, k=k)


def local_scaling(g, B, H, *, k):
    sigma = np.sqrt(max(2 - 2 * np.sort(B @ g)[::-1][:k][-1], 1e-6))
    return g / sigma, 1 / sigma


def invgc_local(g, B, H, *, r_gallery, r_query, k):
    def pull(X):
        near = np.argsort(-(X @ g), kind="stable")[:k]
        return ((X[near] @ g)[:, None] * X[near]).sum(0) / len(near) if len(near) else 0 * g

    return norm(norm(g - r_gallery * pull(H)) / 2 + norm(g - r_query * pull(B)) / 2), 0.0


def invgc(g, B, H, *, r_gallery, r_query, whole_B=None, whole_H=None):
    whole_B, whole_H = B if whole_B is None else whole_B, H if whole_H is None else whole_H

    def pull(X, whole):
        mean = (whole_H @ whole.T).mean()
        return ((X @ g - mean)[:, None] * X).sum(0) / len(X) if len(X) else 0 * g

    return (
        norm(norm(g - r_gallery * pull(H, whole_H)) / 2 + norm(g - r_query * pull(B, whole_B)) / 2),
        0.0,
    )


def centered(g, B, H):
    moved = norm(g - H.mean(0))
    return moved, B.mean(0) @ moved


def none(g, B, H):
    return g, 0.0


def top(scores, k):
    """Best k columns of each row, equal scores by lower column."""
    return np.argsort(-scores, axis=1, kind="stable")[:, :k]
