"""What others offer for the same biases: see the head of fit.py."""

import contextlib
import io
from collections.abc import Callable

import numpy as np

PEER_ROWS = 1024  # of a block of the plain numpy peers


def over_rows(
    see: Callable[[np.ndarray], np.ndarray], gallery: np.ndarray, bank: np.ndarray
) -> np.ndarray:
    """(n,) what `see` makes of full rows of similarities, a block at a time."""
    starts = range(0, len(gallery), PEER_ROWS)
    return np.concatenate([see(gallery[i : i + PEER_ROWS] @ bank.T) for i in starts])


def nearest(s: np.ndarray, k: int) -> np.ndarray:
    return np.partition(s, s.shape[1] - k, axis=1)[:, -k:]


def peer_csls(gallery: np.ndarray, bank: np.ndarray) -> np.ndarray:
    return over_rows(lambda s: nearest(s, 10).mean(axis=1) / 2, gallery, bank)


def peer_local_scaling(gallery: np.ndarray, bank: np.ndarray) -> np.ndarray:
    return over_rows(
        lambda s: 1 / np.sqrt(np.maximum(2 - 2 * nearest(s, 10)[:, 0], 1e-6)), gallery, bank
    )


def peer_nnn(gallery: np.ndarray, bank: np.ndarray, batch: int) -> np.ndarray:
    from nnn import NNNRanker, NNNRetriever

    with contextlib.redirect_stderr(io.StringIO()):  # its progress bar
        retriever = NNNRetriever(gallery.shape[1])
        ranker = NNNRanker(retriever, gallery, bank, alternate_ks=16, batch_size=batch)
    return ranker.alignment_means.numpy().ravel()


Peer = tuple[str, str, Callable[[np.ndarray, np.ndarray], np.ndarray]]


def peers() -> list[Peer]:
    """(method, name, work) of every peer at hand."""
    out: list[Peer] = [
        ("csls", "scikit-hubness' formula, numpy", peer_csls),
        ("local_scaling", "scikit-hubness' formula, numpy", peer_local_scaling),
    ]
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # it prints what it lacks
            import nnn  # noqa: F401
    except ImportError:
        print("nnn-retrieval is missing, and left out: see the head of benchmarks/fit.py\n")
        return out
    batches = [("its default batch, 128", 128), ("batch 2,048", 2048)]
    return [
        ("nnn", f"nnn-retrieval, {name}", lambda g, b, size=size: peer_nnn(g, b, size))
        for name, size in batches
    ] + out
