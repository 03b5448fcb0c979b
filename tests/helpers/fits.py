"""Random galleries with banks, and the methods that tests fit to them."""

import numpy as np

from store.corrections import METHODS
from tests.helpers import dense

PARAMS = {
    "none": {},
    "inverted_softmax": {"beta": 20.0},
    "dual_inverted_softmax": {"beta_query": 20.0, "beta_gallery": 5.0},
    "nnn": {"alpha": 0.75, "k": 4},
    "csls": {"k": 3},
    "local_scaling": {"k": 5},
    "nicdm": {"k": 5},
    "dis_sim_local": {"k": 4},
    "invgc": {"r_gallery": 3.0, "r_query": 1.0},
    "invgc_local": {"r_gallery": 0.5, "r_query": 0.2, "k": 3},
    "sinkhorn": {"beta": 15.0},
    "centered": {},
    "canonical": {"mix": 0.4, "ridge": 0.5},
    "average": {
        "members": [
            ["nnn", {"alpha": 0.5, "k": 4}],
            ["nnn", {"alpha": 1.0, "k": 2}],
            ["dual_inverted_softmax", {"beta_query": 20.0, "beta_gallery": 5.0}],
            ["sinkhorn", {"beta": 15.0}],
        ]
    },
}
OF_PAIRS = ("sinkhorn", "canonical", "average")  # methods that look at pairs of the banks
COMPOSITIONS = [
    "invgc_local+nnn", "invgc+inverted_softmax", "invgc_local+local_scaling",
    "invgc_local+dynamic_dual_inverted_softmax", "invgc_local+sinkhorn", "centered+nnn",
    "centered+sinkhorn", "centered+local_scaling", "canonical+nnn", "canonical+sinkhorn",
    "canonical+average",
]  # fmt: skip
ALL_METHODS = [*METHODS, *COMPOSITIONS]


def unit_rows(rng, rows, dims=12, tilt=1.0):
    """Unit rows with a common direction, so that not all similarities are near zero."""
    return dense.norm(rng.normal(size=(rows, dims)) + tilt).astype(np.float32)


def arrays(seed=0, n=40, m=30, h=25, dims=12):
    """A gallery and its banks."""
    rng = np.random.default_rng(seed)
    return {
        "gallery": unit_rows(rng, n, dims),
        "query_bank": unit_rows(rng, m, dims, 0.5),
        "gallery_bank": unit_rows(rng, h, dims),
    }


def bank_ids(data):
    """Ids by which the rows of the two banks are pairs, in order."""
    return {f"{bank}_ids": np.arange(len(data[bank])) for bank in ("query_bank", "gallery_bank")}


def paired_arrays(seed=0, n=40, m=30, h=25, dims=12):
    """A gallery, its banks, and ids by which the banks are paired."""
    data = arrays(seed, n, m, h, dims)
    return {**data, **bank_ids(data)}


def reference(
    method, gallery, query_bank, gallery_bank, params, query_bank_ids=None, gallery_bank_ids=None
):
    """Vectors and biases of the dense reference."""
    B, H = query_bank.astype(float), gallery_bank.astype(float)
    if method in OF_PAIRS:
        params = {**params, "query_ids": query_bank_ids, "gallery_ids": gallery_bank_ids}
    values = [getattr(dense, method)(g, B, H, **params) for g in gallery.astype(float)]
    vectors, biases = zip(*values, strict=True)
    return np.array(vectors), np.array(biases)
