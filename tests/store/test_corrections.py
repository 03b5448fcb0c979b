"""Fitted corrections: new rows, degenerate banks, exact ranking, torch and errors."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store.corrections import fit, fit_many, prepare
from store.corrections.kernels.bank_scan import Needs, scan
from store.errors import InputError
from tests.helpers import dense
from tests.helpers.fits import ALL_METHODS, PARAMS, arrays, bank_ids, paired_arrays, unit_rows


@pytest.mark.parametrize("method", ALL_METHODS)
def test_new_rows_get_the_same_values_as_in_a_full_fit(method):
    data = arrays(5, n=60, m=40, h=35)
    ids = np.arange(60)
    banks = {"query_bank_ids": np.arange(40), "gallery_bank_ids": np.arange(35)}
    c = fit(method, **data, gallery_ids=ids, **banks)
    single = c.apply(data["gallery"][17:18], ids[17:18])
    np.testing.assert_allclose(single.vectors[0], c.vectors[17], atol=1e-6)
    np.testing.assert_allclose(single.bias[0], c.bias[17], atol=1e-6)
    if c.flag is not None:
        assert single.flag[0] == c.flag[17]
    data.pop("gallery")
    prepared = prepare(method, **data, **banks, **c.params)
    (applied,) = prepared.apply(arrays(5, 60, 40, 35)["gallery"], ids)
    np.testing.assert_array_equal(applied.bias, c.bias)


@pytest.mark.parametrize("method", ALL_METHODS)
def test_inputs_are_never_changed(method):
    data = paired_arrays(2)
    before = {name: array.copy() for name, array in data.items()}
    c = fit(method, **data)
    c.rank(data["query_bank"], 5)
    for name, array in data.items():
        np.testing.assert_array_equal(array, before[name])


def test_fits_in_one_pass_equal_single_fits():
    data = paired_arrays(4)
    together = fit_many(ALL_METHODS, **data)
    for method, c in zip(ALL_METHODS, together, strict=True):
        single = fit(method, **data)
        assert (c.method, c.params) == (single.method, single.params)
        np.testing.assert_allclose(c.bias, single.bias, atol=1e-6)
        np.testing.assert_allclose(c.vectors, single.vectors, atol=1e-6)


@pytest.mark.parametrize("method", PARAMS)
@settings(max_examples=10)
@given(seed=st.integers(0, 10**6), k=st.integers(1, 60))
def test_rank_is_exact(method, seed, k):
    data = paired_arrays(seed)
    queries = unit_rows(np.random.default_rng(seed + 1), 9)
    c = fit(method, **data, **PARAMS[method])
    index, scores = c.rank(queries, k)
    exact = queries.astype(float) @ c.vectors.astype(float).T - c.bias.astype(float)
    best = np.take_along_axis(exact, dense.top(exact, k), 1)
    np.testing.assert_allclose(scores, best, atol=1e-5)
    np.testing.assert_allclose(np.take_along_axis(exact, index, 1), best, atol=1e-5)
    assert all(len(set(row)) == len(row) for row in index.tolist())


def test_queries_are_searched_as_unit_rows():
    data = arrays(17)
    c = fit("centered+nnn", **data)
    queries = unit_rows(np.random.default_rng(17), 5)
    mapped = c.map_queries(3 * queries)
    np.testing.assert_allclose(mapped, queries, atol=1e-6)
    scores = c.rank(3 * queries, 1)[1]
    best = (mapped @ c.vectors.T - c.bias).max(axis=1)
    np.testing.assert_allclose(scores[:, 0], best, atol=1e-6)


def test_equal_scores_are_ordered_by_the_lower_row():
    gallery = np.ones((3000, 4), np.float32) / 2
    gallery[1234] = [1, 0, 0, 0]
    c = fit("none", gallery=gallery, query_bank=None, gallery_bank=None)
    index, _ = c.rank(np.eye(4, dtype=np.float32)[:2], 5)
    np.testing.assert_array_equal(index, [[1234, 0, 1, 2, 3], [0, 1, 2, 3, 4]])


@pytest.mark.parametrize("method", ["dynamic_inverted_softmax", "dynamic_dual_inverted_softmax"])
def test_dynamic_methods_correct_only_queries_whose_top_item_is_a_hub(method):
    data = arrays(7, n=50)
    queries = unit_rows(np.random.default_rng(8), 30, tilt=0.0)
    c = fit(method, **data)
    s = data["query_bank"].astype(float) @ data["gallery_bank"].astype(float).T
    tau = s.max(1)
    hub = (data["gallery"].astype(float) @ data["query_bank"].T >= tau).any(1)
    np.testing.assert_array_equal(c.flag, hub)
    assert hub.any()
    assert not hub.all()
    raw, _ = fit("none", **data).rank(queries, 5)
    corrected, _ = fit(method.removeprefix("dynamic_"), **data).rank(queries, 5)
    expected = np.where(hub[raw[:, 0]][:, None], corrected, raw)
    np.testing.assert_array_equal(c.rank(queries, 5)[0], expected)
    # The top item among the admitted ones decides: without hubs, nothing is corrected.
    index, _ = c.rank(queries, 3, where=~hub)
    admitted = np.flatnonzero(~hub)
    np.testing.assert_array_equal(
        index, admitted[dense.top(queries.astype(float) @ data["gallery"][admitted].T, 3)]
    )


@pytest.mark.parametrize("method", ALL_METHODS)
@pytest.mark.parametrize("case", ["one", "constant", "k larger", "all masked"])
def test_degenerate_banks_give_finite_values(method, case):
    data = arrays(9, n=12, m=3, h=3)
    ids = {}
    if case == "one":
        data = {name: array[:1] for name, array in data.items()}
    elif case == "constant":
        data = {name: np.ones_like(array) / np.sqrt(12, dtype="f4") for name, array in data.items()}
    elif case == "all masked":
        ids = {
            "gallery_ids": ["x"] * 6 + [f"y{i}" for i in range(6)],
            "query_bank_ids": ["x"] * 3,
            "gallery_bank_ids": ["x", "z", "x"],
        }
    c = fit(method, **data, **{**bank_ids(data), **ids})
    assert np.isfinite(c.bias).all()
    assert np.isfinite(c.vectors).all()
    assert c.rank(data["query_bank"], 100)[0].shape == (len(data["query_bank"]), len(c.bias))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"query_bank": np.empty((0, 12), np.float32)}, "query_bank is empty"),
        ({"gallery_bank": None}, "gallery_bank"),
        ({"query_bank": np.ones((3, 5), np.float32)}, "dims"),
        ({"gallery": np.ones(12, np.float32)}, "matrix"),
        ({"gallery": np.array([["a"]])}, "numbers"),
        ({"gallery_ids": [1, 2]}, "one id for each"),
        ({"gallery_ids": ["a"] * 40, "query_bank_ids": list(range(30))}, "never be equal"),
        ({"beta": 3}, "has no parameter beta"),
        ({"k": 0}, "k of invgc_local"),
        ({"k": 1.5}, "whole number"),
        ({"r_query": float("nan")}, "r_query"),
        ({"method": "magic"}, "no correction called"),
        ({"method": "nnn+csls"}, "composed"),
        ({"method": "invgc_local+nnn", "k": 3}, "ambiguous"),
    ],
)
def test_wrong_input_is_reported(change, message):
    with pytest.raises(InputError, match=message):
        fit(**{"method": "invgc_local", **arrays(), **change})


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0])
@pytest.mark.parametrize("name", ["gallery", "query_bank", "gallery_bank", "queries"])
def test_invalid_rows_are_named(value, name):
    data = arrays()
    queries = unit_rows(np.random.default_rng(0), 9)
    c = fit("invgc_local", **data)
    rows = {"queries": queries, **data}[name].copy()
    rows[7] = value

    def use_rows():
        if name == "queries":
            c.rank(rows, 3)
        else:
            fit("invgc_local", **{**data, name: rows})

    with pytest.raises(InputError, match=f"row 7 of {name}"):
        use_rows()


def test_rows_are_scaled_to_unit_length():
    data = arrays(11)
    c = fit("nnn", **data)
    scaled = fit("nnn", **{name: 1e20 * array for name, array in data.items()})
    np.testing.assert_allclose(scaled.bias, c.bias, atol=1e-6)
    np.testing.assert_allclose(scaled.vectors, c.vectors, atol=1e-6)


@pytest.mark.parametrize("method", ALL_METHODS)
def test_torch_tensors_give_tensors_with_the_values_of_numpy(method):
    torch = pytest.importorskip("torch")
    data = arrays(12)
    tensors = {name: torch.from_numpy(array) for name, array in data.items()}
    ids = bank_ids(data)
    c, t = fit(method, **data, **ids), fit(method, **tensors, **ids)
    assert isinstance(t.vectors, torch.Tensor)
    np.testing.assert_array_equal(t.bias.numpy(), c.bias)
    index, _ = t.rank(tensors["query_bank"], 5)
    np.testing.assert_array_equal(index.numpy(), c.rank(data["query_bank"], 5)[0])


def test_a_scan_in_torch_equals_one_in_numpy():
    torch = pytest.importorskip("torch")
    data = arrays(13, n=50, m=400)
    rows, bank = data["gallery"], data["query_bank"]
    masked = (np.array([3, 5, 3]), np.array([0, 64, 399]))
    tau = {1: np.linspace(0, 1, 400).astype(np.float32)}
    needs = Needs(frozenset({5.0, 50.0}), 7, frozenset({1}))
    a = scan(rows, bank, needs, masked=masked, thresholds=tau, tile=64)
    b = scan(
        torch.from_numpy(rows), torch.from_numpy(bank), needs, masked=masked,
        thresholds={1: torch.from_numpy(tau[1])}, tile=64,
    )  # fmt: skip
    for beta in needs.betas:
        np.testing.assert_allclose(a.lse[beta], b.lse[beta].numpy(), rtol=1e-6)
    np.testing.assert_allclose(a.top, b.top.numpy(), atol=1e-6)
    np.testing.assert_array_equal(a.top_index, b.top_index.numpy())
    np.testing.assert_allclose(a.margins[1], b.margins[1].numpy(), atol=1e-6)
    s = rows @ bank.T
    s[masked] = -np.inf
    np.testing.assert_array_equal(a.top_index, dense.top(s, 7))
