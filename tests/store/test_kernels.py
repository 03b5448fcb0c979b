"""The tiled kernels (top k, log-sum-exps, threads) against plain float64 computations."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store.corrections import fit
from store.corrections.kernels.bank_scan import BANK_TILE, Needs, scan
from store.corrections.kernels.logsumexp import PLAIN_BETA, WEIGHTED_BETA
from store.corrections.kernels.masks import IdIndex, as_ids
from store.corrections.kernels.threads import _libraries, for_each_span, one_blas_thread
from store.corrections.kernels.topk import TopK, kth_lower_bound
from tests.helpers import dense


def top_k_in_tiles(scores, k, width):
    top = TopK(scores, k)
    for start in range(0, scores.shape[1], width):
        top.add(np.ascontiguousarray(scores[:, start : start + width]), start)
    return top.result()


@settings(max_examples=60)
@given(
    seed=st.integers(0, 10**6), columns=st.integers(1, 200), k=st.integers(1, 30),
    width=st.integers(1, 120), levels=st.sampled_from([2, 5, 10**6]), masked=st.floats(0, 1),
)  # fmt: skip
def test_running_top_k_is_a_stable_sort(seed, columns, k, width, levels, masked):
    rng = np.random.default_rng(seed)
    scores = (rng.integers(-levels, levels, (7, columns)) / levels).astype(np.float32)
    scores[rng.random(scores.shape) < masked] = -np.inf
    k = min(k, columns)
    values, index = top_k_in_tiles(scores, k, width)
    order = dense.top(scores, k)
    best = np.take_along_axis(scores, order, 1)
    np.testing.assert_array_equal(values, best)
    np.testing.assert_array_equal(index, np.where(best > -np.inf, order, -1))


@settings(max_examples=60)
@given(seed=st.integers(0, 10**6), k=st.integers(1, 20), others=st.integers(1, 500))
def test_the_lower_bound_of_the_kth_score_is_never_too_high(seed, k, others):
    scores = np.random.default_rng(seed).normal(size=(9, k + others)).astype(np.float32)
    assert (kth_lower_bound(scores, k) <= np.sort(scores, axis=1)[:, -k]).all()


BETAS = st.sampled_from([0.1, 1.0, 3.0, 5.0, 10.0, 20.0, 40.0, 79.0, 80.0, 81.0, 160.0, 1000.0])


@settings(max_examples=60)
@given(
    seed=st.integers(0, 10**6), betas=st.sets(BETAS, min_size=1), tile=st.integers(1, 64),
    sign=st.sampled_from([-1, 0, 1]),
)  # fmt: skip
def test_log_sum_exps_equal_those_in_float64(seed, betas, tile, sign):
    """For near, far and opposite banks, and for betas of which one is twice another."""
    rng = np.random.default_rng(seed)
    rows = dense.norm(rng.normal(size=(5, 8))).astype(np.float32)
    spread = rng.normal(size=(50, 8)) * rng.choice([1e-3, 0.1, 1])
    bank = dense.norm(sign * rows[0] + spread).astype(np.float32)
    logs = {b: -rng.uniform(0, 2 * b, len(bank)) for b in betas if b <= WEIGHTED_BETA}
    logs = {beta: log - log.max() for beta, log in logs.items()}
    weights = {beta: np.exp(log).astype(np.float32) for beta, log in logs.items()}
    needs = Needs(betas=frozenset(betas), weighted=frozenset(weights))
    result = scan(rows, bank, needs, weights=weights, tile=tile)
    s = rows.astype(float) @ bank.astype(float).T
    for sums, added in ((result.lse, dict.fromkeys(betas, 0)), (result.weighted, logs)):
        for beta, log in added.items():
            exact = [dense.lse(beta * row + log) for row in s]
            np.testing.assert_allclose(sums[beta], exact, rtol=1e-6, atol=3e-7 * (1 + beta))


def test_log_sum_exps_in_torch_equal_those_in_numpy():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    rows, bank = (dense.norm(rng.normal(size=(n, 8))).astype(np.float32) for n in (20, 100))
    masked = (np.zeros(100, int), np.arange(100))  # the first row has no unmasked bank row
    weighted = frozenset({5.0, 20.0})
    needs = Needs(frozenset({5.0, 10.0, 30.0, 100.0, 200.0, 300.0}), weighted=weighted)
    weights = {beta: rng.random(100, np.float32) for beta in weighted}
    a = scan(rows, bank, needs, masked=masked, weights=weights, tile=32)
    b = scan(
        torch.from_numpy(rows), torch.from_numpy(bank), needs, masked=masked, tile=32,
        weights={beta: torch.from_numpy(w) for beta, w in weights.items()},
    )  # fmt: skip
    for ours, theirs in ((a.lse, b.lse), (a.weighted, b.weighted)):
        for beta, sums in ours.items():
            assert sums[0] == theirs[beta][0] == -np.inf
            np.testing.assert_allclose(sums, theirs[beta].numpy(), rtol=1e-6)


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("beta", [PLAIN_BETA / 2, PLAIN_BETA, np.nextafter(PLAIN_BETA, 100)])
def test_the_largest_similarities_do_not_overflow_float32(sign, beta):
    row = np.zeros((1, 4), np.float32)
    row[0, 0] = 1.0019  # counts as a unit row
    bank = np.repeat(sign * row, 2 * BANK_TILE + 1, axis=0)
    with np.errstate(all="raise"):
        bias = fit(
            "inverted_softmax", gallery=row, query_bank=bank, gallery_bank=None, beta=beta
        ).bias
    np.testing.assert_allclose(bias, sign * 1.0019**2 + np.log(len(bank)) / beta, rtol=1e-6)


@pytest.mark.parametrize("rows", [0, 1, 100, 1000, 20_000])
def test_each_row_is_processed_once(rows):
    calls = np.zeros(rows, dtype=int)

    def work(span):
        calls[slice(*span)] += 1

    for_each_span(work, rows, calls)
    np.testing.assert_array_equal(calls, 1)


def blas_threads():
    """Thread counts of the BLAS libraries that were loaded when the first product ran."""
    return [lib["num_threads"] for lib in _libraries().info() if lib["user_api"] == "blas"]


def test_blas_threads_are_restored_when_the_last_caller_leaves():
    before = blas_threads()
    first, second = one_blas_thread(), one_blas_thread()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert set(blas_threads()) <= {1}
    second.__exit__(None, None, None)
    assert blas_threads() == before


def test_a_failure_in_a_thread_is_raised_and_blas_threads_are_restored():
    before = blas_threads()

    def work(span):
        raise ValueError(span)

    with pytest.raises(ValueError, match="0"):
        for_each_span(work, 5000, np.empty(0))
    assert blas_threads() == before


def test_no_ids_are_equal_to_any() -> None:
    none, words, numbers = (as_ids(ids, len(ids), "ids") for ids in ([], ["a"], [1]))
    for ids in (none, words, numbers):
        assert all(len(side) == 0 for side in IdIndex(none).pairs(ids))
        assert all(len(side) == 0 for side in IdIndex(ids).pairs(none))
