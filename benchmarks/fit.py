"""Fitting corrections against its peers: the same answers, the ratio of times, memory.

    python benchmarks/fit.py                         # 100,000 x 512, banks of 10,000
    python benchmarks/fit.py --rows 1000000 --bank 1000 --no-peers    # bounded memory

Peers: the package nnn-retrieval (`pip install nnn-retrieval`; left out where it is missing) for
nnn, and for local scaling scikit-hubness's formula in numpy, block by block over full similarity
rows (the package itself does not import beside current scikit-learn). `share` is the time of the
matrix products alone, at the rate measured right before and after, over the time of the fit.
`GB above` is the peak of memory above the inputs, moved vectors included; peers raise the peak
too, so it is blank beside them.
"""

import argparse
import contextlib
import io
import resource
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from store.corrections import fit

TILE = (2048, 1024)


def unit_rows(rows: int, dims: int, seed: int) -> np.ndarray:
    """Unit rows that lean one way, as embeddings of one modality do; made in place."""
    x = np.random.default_rng(seed).standard_normal((rows, dims), dtype=np.float32)
    x += 0.5
    for start in range(0, rows, 8192):
        part = x[start : start + 8192]
        part /= np.linalg.norm(part, axis=1, keepdims=True)
    return x


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def product_rate(gallery: np.ndarray, bank: np.ndarray, repeats: int = 8) -> float:
    """Multiply-adds a second of the plain product of two tiles, into memory already there."""
    a, b = gallery[: TILE[0]], bank[: TILE[1]]
    out = np.empty((len(a), len(b)), np.float32)
    seconds, _ = timed(lambda: [np.matmul(a, b.T, out=out) for _ in range(repeats)])
    return repeats * len(a) * len(b) * a.shape[1] / seconds


def peer_nnn(gallery: np.ndarray, bank: np.ndarray, k: int, batch: int) -> np.ndarray:
    """(n,) alignment means of the package nnn-retrieval."""
    from nnn import NNNRanker, NNNRetriever

    with contextlib.redirect_stderr(io.StringIO()):
        ranker = NNNRanker(
            NNNRetriever(gallery.shape[1]), gallery, bank, alternate_ks=k, batch_size=batch
        )
    return ranker.alignment_means.numpy().ravel()


def peer_local_scaling(gallery: np.ndarray, bank: np.ndarray, k: int) -> np.ndarray:
    """(n,) distance to the k-th nearest bank row, from full rows of similarities."""
    out = np.empty(len(gallery), np.float32)
    for start in range(0, len(gallery), 1024):
        s = gallery[start : start + 1024] @ bank.T
        kth = np.partition(s, s.shape[1] - k, axis=1)[:, s.shape[1] - k]
        out[start : start + 1024] = np.sqrt(np.maximum(2 - 2 * kth, 0))
    return out


def peak() -> float:
    """Largest resident size so far, GB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--dims", type=int, default=512)
    parser.add_argument("--bank", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--methods", help="separated by commas; all by default")
    options = parser.parse_args()
    gallery = unit_rows(options.rows, options.dims, 0)
    query_bank = unit_rows(options.bank, options.dims, 1)
    gallery_bank = unit_rows(options.bank, options.dims, 2)
    banks = {"query_bank": query_bank, "gallery_bank": gallery_bank}
    before = peak()
    peers: dict[str, Callable[[], np.ndarray]] = {}
    if not options.no_peers:
        peers["local_scaling"] = lambda: peer_local_scaling(gallery, query_bank, 10)
        with contextlib.suppress(ImportError):
            import nnn  # noqa: F401

            peers["nnn"] = lambda: peer_nnn(gallery, query_bank, 16, 128)
            peers["nnn, peer's batch 2048"] = lambda: peer_nnn(gallery, query_bank, 16, 2048)
    cases = [
        ("nnn", {"alpha": 1.0, "k": 16}, 1),
        ("nnn, peer's batch 2048", {"alpha": 1.0, "k": 16}, 1),
        ("local_scaling", {"k": 10}, 1),
        ("inverted_softmax", {}, 1),
        ("dual_inverted_softmax", {}, 2),
        ("invgc_local", {}, 2),
    ]
    header = (
        "method",
        "fit, s",
        "share",
        "peer, s",
        "peer / fit",
        "largest difference",
        "GB above",
    )
    table = Table(*header, title=f"{options.rows:,} x {options.dims}, banks {options.bank:,}")
    for name, params, products in cases:
        if "," in name and name not in peers:
            continue
        if options.methods and name.partition(",")[0] not in options.methods.split(","):
            continue
        shares, times, peer_times, worst = [], [], [], 0.0
        for _ in range(options.repeats):
            rate = [product_rate(gallery, query_bank)]
            method = name.partition(",")[0]
            seconds, c = timed(lambda m=method, p=params: fit(m, gallery=gallery, **banks, **p))
            rate.append(product_rate(gallery, query_bank))
            work = products * gallery.size * options.bank / statistics.mean(rate)
            shares.append(work / seconds)
            times.append(seconds)
            above = peak() - before
            if name in peers:
                seconds, answer = timed(peers[name])
                peer_times.append(seconds)
                mine = 1 / c.bias if method == "local_scaling" else c.bias
                worst = max(worst, float(np.abs(mine - answer).max()))
            del c
        fitted = statistics.median(times)
        other = statistics.median(peer_times) if peer_times else None
        table.add_row(
            name, f"{fitted:.2f}", f"{statistics.median(shares):.2f}",
            f"{other:.2f}" if other else "", f"{other / fitted:.2f}" if other else "",
            f"{worst:.1e}" if other else "", f"{above:.2f}" if options.no_peers else "",
        )  # fmt: skip
    Console().print(table)


if __name__ == "__main__":
    main()
