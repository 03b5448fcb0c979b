"""InvGC, dense (Jian and Wang 2023, "InvGC: Robust Cross-Modal Retrieval by Inverse Graph
Convolution", Findings of EMNLP).

    g' = norm( norm(g - r_gallery a_H(g)) / 2 + norm(g - r_query a_B(g)) / 2 )
    a_X(g) = (1/|X|) sum over X of (s(g,x) - s_X) x

The paper centres similarities by the mean over the batch; here s_X is the mean similarity between
the gallery bank H and X, a constant, so that g' depends on g alone. The sum over a bank is the
product of g with the bank's d x d second moment, so no bank is walked; only masked rows are taken
off one by one. a_X is short, so `r_gallery` and `r_query` are sensible from 0.5 to 20.
"""

from collections.abc import Mapping

from store.corrections.kernels.arrays import Array, beside, namespace
from store.corrections.kernels.bank_scan import Needs, ScanResult
from store.corrections.kernels.threads import blocks
from store.corrections.method import BOTH, BankStatistics, Compiled, FitBanks, Method, Params, Range
from store.corrections.methods.invgc_local import push

PAIRS = 8192  # masked rows taken off at a time


def needs(params: Params) -> Needs:
    return Needs(masks=True)


def state(params: Params, banks: FitBanks) -> dict[str, Array]:
    centre = banks.gallery.mean(axis=0)
    out = {}
    for side, bank in (("query", banks.query), ("gallery", banks.gallery)):
        out[side] = bank
        out[f"{side}_moment"] = bank.T @ bank
        out[f"{side}_pull"] = bank.sum(axis=0) * (centre @ bank.mean(axis=0))
    out["query_mean"] = centre @ banks.query.mean(axis=0)
    out["gallery_mean"] = centre @ banks.gallery.mean(axis=0)
    return out


def surroundings(rows: Array, seen: ScanResult, state: Mapping[str, Array], side: str) -> Array:
    """(n, d) a_X over the bank rows that are not masked."""
    bank, mean = state[side], state[f"{side}_mean"]
    total = rows @ state[f"{side}_moment"] - state[f"{side}_pull"]
    row, column = (beside(index, rows) for index in seen.masked)
    for start, stop in blocks(len(row), PAIRS):
        r, x = row[start:stop], bank[column[start:stop]]
        s = (rows[r] * x).sum(axis=1) - mean
        take_off(total, r, s[:, None] * x)
    return total / namespace(rows).where(seen.left > 0, seen.left, 1.0)[:, None]


def take_off(total: Array, rows: Array, values: Array) -> None:
    """total[rows] -= values, in place, where rows repeat."""
    if hasattr(total, "index_add_"):
        total.index_add_(0, rows, -values)
    else:
        namespace(total).subtract.at(total, rows, values)


def compile(
    params: Params, state: Mapping[str, Array], rows: Array, look: BankStatistics
) -> Compiled:
    assert look.query is not None
    assert look.gallery is not None
    around_gallery = surroundings(rows, look.gallery, state, "gallery")
    around_query = surroundings(rows, look.query, state, "query")
    return Compiled(vectors=push(params, rows, around_gallery, around_query))


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
    banks=BOTH,
    grid=tuple({"r_gallery": r, "r_query": r} for r in (2.0, 10.0)),
)
