"""InvGC, dense (Jian and Wang 2023, "InvGC: Robust Cross-Modal Retrieval by Inverse Graph
Convolution", Findings of EMNLP).

    g' = norm( norm(g - r_gallery a_H(g)) / 2 + norm(g - r_query a_B(g)) / 2 )
    a_X(g) = (1/|X|) sum over X of (s(g,x) - s_X) x

H is the gallery bank, B the query bank. The paper centres similarities by the mean over the batch.
Here s_X is the mean similarity between H and X, which is a constant, so g' depends on g and the
banks alone. The sum over a bank is the product of g with the d x d second moment of the bank, so no
bank is scanned; only masked rows are subtracted one by one. a_X is short, so sensible values of
`r_gallery` and `r_query` are 0.5 to 20.
"""

from collections.abc import Mapping

from store.corrections.kernels.arrays import Array, convert_like, namespace
from store.corrections.kernels.bank_scan import Needs, ScanResult
from store.corrections.kernels.threads import spans
from store.corrections.method import (
    BOTH_BANKS,
    BankStatistics,
    Compiled,
    FitBanks,
    Method,
    Params,
    Range,
)
from store.corrections.methods.invgc_local import push_away

PAIRS = 8192  # masked pairs that are subtracted at a time


def needs(params: Params) -> Needs:
    return Needs(masks=True)


def state(params: Params, banks: FitBanks) -> dict[str, Array]:
    centre = banks.gallery.mean(axis=0)
    out = {}
    for side, bank in (("query", banks.query), ("gallery", banks.gallery)):
        out[side] = bank
        out[f"{side}_moment"] = bank.T @ bank
        out[f"{side}_similarity"] = centre @ bank.mean(axis=0)  # s_X
        out[f"{side}_offset"] = bank.sum(axis=0) * out[f"{side}_similarity"]
    return out


def bank_mean(rows: Array, result: ScanResult, state: Mapping[str, Array], side: str) -> Array:
    """(n, d) a_X over the unmasked rows of the bank `side` ("query" or "gallery")."""
    bank, mean = state[side], state[f"{side}_similarity"]
    total = rows @ state[f"{side}_moment"] - state[f"{side}_offset"]
    row, column = (convert_like(index, rows) for index in result.masked)
    for start, stop in spans(len(row), PAIRS):
        r, x = row[start:stop], bank[column[start:stop]]
        s = (rows[r] * x).sum(axis=1) - mean
        subtract_at(total, r, s[:, None] * x)
    return total / namespace(rows).where(result.unmasked > 0, result.unmasked, 1.0)[:, None]


def subtract_at(total: Array, rows: Array, values: Array) -> None:
    """total[rows] -= values, in place; a row may occur several times in `rows`."""
    if hasattr(total, "index_add_"):
        total.index_add_(0, rows, -values)
    else:
        namespace(total).subtract.at(total, rows, values)


def compile(
    params: Params, state: Mapping[str, Array], rows: Array, statistics: BankStatistics
) -> Compiled:
    assert statistics.query is not None
    assert statistics.gallery is not None
    gallery_mean = bank_mean(rows, statistics.gallery, state, "gallery")
    query_mean = bank_mean(rows, statistics.query, state, "query")
    return Compiled(vectors=push_away(params, rows, gallery_mean, query_mean))


FACTOR = Range(0, 1e4)

METHOD = Method(
    "invgc",
    compile,
    defaults={"r_gallery": 2.0, "r_query": 2.0},
    ranges={"r_gallery": FACTOR, "r_query": FACTOR},
    query_needs=needs,
    gallery_needs=needs,
    state=state,
    moves=True,
    composes=True,
    banks=BOTH_BANKS,
    grid=tuple({"r_gallery": r, "r_query": r} for r in (2.0, 10.0)),
)
