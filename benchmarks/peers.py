"""Other implementations of the same biases, which benchmarks/fit.py compares with `fit`."""

import contextlib
import io
from collections.abc import Callable

import numpy as np

PEER_ROWS = 1024  # gallery rows per block of the numpy peers


def for_each_block(
    work: Callable[[np.ndarray], np.ndarray], gallery: np.ndarray, bank: np.ndarray
) -> np.ndarray:
    """(n,) results of `work` on full rows of similarities, one block of gallery rows at a time."""
    starts = range(0, len(gallery), PEER_ROWS)
    return np.concatenate([work(gallery[i : i + PEER_ROWS] @ bank.T) for i in starts])


def largest(s: np.ndarray, k: int) -> np.ndarray:
    """(n, k) the k largest similarities of each row, the smallest of them first."""
    return np.partition(s, s.shape[1] - k, axis=1)[:, -k:]


def peer_csls(gallery: np.ndarray, bank: np.ndarray) -> np.ndarray:
    return for_each_block(lambda s: largest(s, 10).mean(axis=1) / 2, gallery, bank)


def peer_local_scaling(gallery: np.ndarray, bank: np.ndarray) -> np.ndarray:
    return for_each_block(
        lambda s: 1 / np.sqrt(np.maximum(2 - 2 * largest(s, 10)[:, 0], 1e-6)), gallery, bank
    )


def peer_nnn(gallery: np.ndarray, bank: np.ndarray, batch: int) -> np.ndarray:
    from nnn import NNNRanker, NNNRetriever

    with contextlib.redirect_stderr(io.StringIO()):  # hides its progress bar
        retriever = NNNRetriever(gallery.shape[1])
        ranker = NNNRanker(retriever, gallery, bank, alternate_ks=16, batch_size=batch)
    return ranker.alignment_means.numpy().ravel()


# (method, name of the peer, function that returns the biases of a gallery and a bank)
Peer = tuple[str, str, Callable[[np.ndarray, np.ndarray], np.ndarray]]


def peers() -> list[Peer]:
    """All peers that are installed."""
    numpy_peers: list[Peer] = [
        ("csls", "scikit-hubness' formula, numpy", peer_csls),
        ("local_scaling", "scikit-hubness' formula, numpy", peer_local_scaling),
    ]
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # hides messages about missing packages
            import nnn  # noqa: F401
    except ImportError:
        print(
            "nnn-retrieval is not installed and is left out; the docstring of benchmarks/fit.py"
            " shows how to install it\n"
        )
        return numpy_peers
    batches = [("its default batch, 128", 128), ("batch 2,048", 2048)]
    return [
        ("nnn", f"nnn-retrieval, {name}", lambda g, b, size=size: peer_nnn(g, b, size))
        for name, size in batches
    ] + numpy_peers
