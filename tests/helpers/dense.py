"""Reference implementations of the corrections: float64 loops over full matrices.

They are written from the formulas and share no code with `store.corrections`, so that agreement of
the two is evidence. Each method takes one gallery row g, the query bank B and the gallery bank H,
and returns (vector, bias) for ranking by q . vector - bias. Methods that look at pairs of the banks
take whole banks with their ids, and the id of g.
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


def nicdm(g, B, H, *, k):
    distances = np.sqrt(np.maximum(2 - 2 * np.sort(B @ g)[::-1][:k], 0))
    mean = max(distances.mean(), 1e-3)
    return g / mean, 1 / mean


def dis_sim_local(g, B, H, *, k):
    near = np.argsort(-(B @ g), kind="stable")[:k]
    return g, -((g - B[near].mean(0)) ** 2).sum() / 2


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


def potentials(B, H, beta, same, iterations=10):
    """u (h,) and v (m,) of Sinkhorn's iteration on K = exp(beta H B'), and K.

    `same` (h, m) is True for pairs that are left out. Rows or columns without any pair get the
    geometric mean of the others. The columns of u K v sum to one.
    """

    def inverse(sums):
        logs = -np.log(np.where(sums > 0, sums, 1))
        return np.exp(np.where(sums > 0, logs, logs[sums > 0].mean() if sums.any() else 0))

    K = np.where(same, 0, np.exp(beta * (H @ B.T)))
    u = np.ones(len(H))
    v = inverse(u @ K)
    for _ in range(iterations - 1):
        u = inverse(K @ v)
        v = inverse(u @ K)
    return u, v, K


def sinkhorn(g, B, H, *, beta, query_ids=None, gallery_ids=None, row_id=None):
    """A row with the id of a bank item gets the potentials v that the other items give."""
    same = np.zeros((len(H), len(B)), bool)
    keep, others = np.ones(len(B), bool), np.ones(len(H), bool)
    if query_ids is not None:
        same = gallery_ids[:, None] == query_ids[None, :]
        keep, others = query_ids != row_id, gallery_ids != row_id
    u, v, K = potentials(B, H, beta, same)
    factor = np.log((v / v.max()).sum() / (v / v.max())[keep].sum())
    own = 1 / np.maximum(v * (u[others] @ K[others]), 0.1) if not others.all() else np.ones(len(v))
    terms = beta * (B[keep] @ g) + np.log(v / v.max())[keep]
    change = 0
    if not others.all():
        h = H[~others][0]
        at_item = beta * (B[keep] @ h) + np.log(v / v.max())[keep]
        change = lse(at_item + np.log(own[keep])) - lse(at_item)
    return g, (lse(terms) + factor + change) / beta


def canonical(g, B, H, *, mix, ridge, query_ids, gallery_ids, row_id=None):
    X, Y = norm(B - B.mean(0)), norm(H - H.mean(0))
    ids = [i for i in np.unique(query_ids) if i in gallery_ids]
    X = np.array([X[query_ids == i].mean(0) for i in ids])
    Y = np.array([Y[gallery_ids == i].mean(0) for i in ids])
    d, n = len(g), len(ids)

    def whiten(Z):
        C = Z.T @ Z / n
        return np.linalg.pinv(C + ridge * np.trace(C) / d * np.eye(d))

    W = whiten(Y) @ (Y.T @ X / n) @ whiten(X)
    c = norm(g - H.mean(0))
    moved = norm((1 - mix) * c + mix * norm(c @ W))
    return moved, B.mean(0) @ moved


def average(g, B, H, *, members, query_ids=None, gallery_ids=None, row_id=None):
    biases = []
    for name, params in members:
        if name == "sinkhorn":
            ids = {"query_ids": query_ids, "gallery_ids": gallery_ids, "row_id": row_id}
            biases.append(sinkhorn(g, B, H, **params, **ids)[1])
            continue
        if name == "dual_inverted_softmax":
            params = {**params, "size": len(B), "gallery_size": len(H)}
        banks = (B, H)
        if query_ids is not None:
            banks = (unmasked(B, query_ids, row_id), unmasked(H, gallery_ids, row_id))
        biases.append(globals()[name](g, *banks, **params)[1])
    return g, np.mean(biases)


def composed(move, second, g, B, H):
    """A mover that centres queries, then another method: in terms of the centred query q',

    q . g' = |q - mu| q' . g' + mu . g', and |q - mu| is replaced by its mean over the bank.

    Args:
        move: a function from a gallery row to its moved row.
        second: a function (g', B', H') that returns (vector, bias).
    """
    centred = B - B.mean(0)
    vector, bias = second(move(g), norm(centred), np.array([move(h) for h in H]))
    return vector, B.mean(0) @ vector + np.linalg.norm(centred, axis=1).mean() * bias


def none(g, B, H):
    return g, 0.0


def top(scores, k):
    """The k best columns of each row; equal scores are ordered by the lower column."""
    return np.argsort(-scores, axis=1, kind="stable")[:, :k]
