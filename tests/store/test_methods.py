"""The formula of every method: agreement with its dense reference, masks and compositions."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store.corrections import METHODS, fit
from store.corrections.recipe import average_of, recipe
from store.errors import InputError
from tests.helpers import dense
from tests.helpers.fits import OF_PAIRS, PARAMS, arrays, paired_arrays, reference


@pytest.mark.parametrize("method", PARAMS)
@settings(max_examples=15)
@given(seed=st.integers(0, 10**6), n=st.integers(1, 40), m=st.integers(1, 30), h=st.integers(1, 30))
def test_a_fit_equals_the_dense_reference(method, seed, n, m, h):
    # A map of fewer pairs than dimensions takes some rows to nearly zero, and what is left of them,
    # which is rounding, is normalised.
    least = 24 if method == "canonical" else 1
    data = paired_arrays(seed, n, max(m, least), max(h, least))
    c = fit(method, **data, **PARAMS[method])
    vectors, bias = reference(method, **data, params=PARAMS[method])
    scale = 1 + np.abs(bias).max()
    np.testing.assert_allclose(c.vectors, vectors, atol=2e-5 * scale)
    np.testing.assert_allclose(c.bias, bias, atol=2e-6 * scale)
    assert c.vectors.dtype == c.bias.dtype == np.float32


@pytest.mark.parametrize("method", PARAMS)
def test_bank_rows_of_the_same_sample_are_masked(method):
    data = arrays(3, n=20, m=30, h=25)
    ids = {
        "gallery_ids": np.arange(20),
        "query_bank_ids": np.arange(30) // 2,  # two captions per sample
        "gallery_bank_ids": np.arange(25),
    }
    c = fit(method, **data, **ids, **PARAMS[method])
    B, H = (data[name].astype(float) for name in ("query_bank", "gallery_bank"))
    for i, g in enumerate(data["gallery"].astype(float)):
        unmasked_B = dense.unmasked(B, ids["query_bank_ids"], i)
        unmasked_H = dense.unmasked(H, ids["gallery_bank_ids"], i)
        full_banks = {
            "inverted_softmax": {"size": 30},
            "dual_inverted_softmax": {"size": 30, "gallery_size": 25},
            "invgc": {"full_B": B, "full_H": H},
        }.get(method, {})
        if method == "centered":
            unmasked_B, unmasked_H = B, H  # not masked: one sample hardly changes a bank's mean
        if method in OF_PAIRS:  # the reference masks by itself
            unmasked_B, unmasked_H = B, H
            full_banks = {
                "row_id": i,
                "query_ids": ids["query_bank_ids"],
                "gallery_ids": ids["gallery_bank_ids"],
            }
        reference_method = getattr(dense, method)
        vector, bias = reference_method(g, unmasked_B, unmasked_H, **PARAMS[method], **full_banks)
        np.testing.assert_allclose(c.vectors[i], vector, atol=3e-5)
        np.testing.assert_allclose(c.bias[i], bias, atol=3e-6)


@pytest.mark.parametrize("beta", [0.1, 1.0, 20.0, 1000.0])
def test_inverted_softmax_neither_overflows_nor_underflows(beta):
    data = arrays(1, n=50, m=300)
    c = fit("inverted_softmax", **data, beta=beta)
    _, bias = reference("inverted_softmax", **data, params={"beta": beta})
    np.testing.assert_allclose(c.bias, bias, rtol=1e-6, atol=1e-6)


def test_a_composition_fits_the_bias_on_moved_vectors():
    data = arrays(6)
    moved = fit("invgc_local", **data, k=3)
    c = fit("invgc_local+nnn", **data, invgc_local__k=3, nnn__k=7, alpha=0.6)
    _, bias = reference(
        "nnn", moved.vectors, data["query_bank"], data["gallery_bank"], {"alpha": 0.6, "k": 7}
    )
    np.testing.assert_allclose(c.vectors, moved.vectors, atol=1e-6)
    np.testing.assert_allclose(c.bias, bias, atol=1e-5)
    assert fit("invgc_local+nnn", **data, **c.params).params == c.params


@pytest.mark.parametrize(
    "second", ["nnn", "sinkhorn", "local_scaling", "inverted_softmax", "average"]
)
@pytest.mark.parametrize("mover", ["centered", "canonical"])
@settings(max_examples=5)
@given(seed=st.integers(0, 10**6))
def test_a_composition_with_a_mover_that_centres_queries(mover, second, seed):
    data = paired_arrays(seed)
    B, H = (data[name].astype(float) for name in ("query_bank", "gallery_bank"))
    ids = {"query_ids": data["query_bank_ids"], "gallery_ids": data["gallery_bank_ids"]}
    first = {**PARAMS[mover], **(ids if mover in OF_PAIRS else {})}
    then = {**PARAMS[second], **(ids if second in OF_PAIRS else {})}
    expected = [
        dense.composed(
            lambda row: getattr(dense, mover)(row, B, H, **first)[0],
            lambda *moved: getattr(dense, second)(*moved, **then),
            g, B, H,
        )
        for g in data["gallery"].astype(float)
    ]  # fmt: skip
    params = {f"{name}__{p}": v for name in (mover, second) for p, v in PARAMS[name].items()}
    c = fit(f"{mover}+{second}", **data, **params)
    vectors, biases = map(np.array, zip(*expected, strict=True))
    np.testing.assert_allclose(c.vectors, vectors, atol=1e-4)
    np.testing.assert_allclose(c.bias, biases, atol=2e-5)


def test_a_composition_keeps_the_bias_of_its_first_method():
    data = arrays(14)
    alone, composed = fit("centered", **data), fit("centered+nnn", **data, alpha=0.0)
    np.testing.assert_allclose(composed.bias, alone.bias, atol=1e-6)
    np.testing.assert_allclose(composed.vectors, alone.vectors, atol=1e-6)


@pytest.mark.parametrize("beta", [1e-2, 40.0, np.nextafter(40.0, 50), 80.0, 300.0])
@settings(max_examples=10)
@given(seed=st.integers(0, 10**6))
def test_sinkhorn_with_any_beta_equals_the_dense_reference(beta, seed):
    data = paired_arrays(seed)
    c = fit("sinkhorn", **data, beta=beta)
    _, bias = reference("sinkhorn", **data, params={"beta": beta})
    np.testing.assert_allclose(c.bias, bias, atol=3e-6 * (1 + np.abs(bias).max()))


def test_sinkhorn_balances_the_bank():
    """Its purpose: every item of the bank gets the same total probability from the bank queries."""
    data = arrays(15, m=60, h=60)
    data["gallery"] = data["gallery_bank"]
    exponent = 10 * data["gallery"].astype(float) @ data["query_bank"].T.astype(float)

    def imbalance(bias):
        p = np.exp(exponent - bias[:, None])
        return abs((p / p.sum(axis=0)).sum(axis=1) - 1).max()

    bias = fit("sinkhorn", **data, beta=10.0).bias
    assert imbalance(10 * bias) < 0.01 < 0.5 < imbalance(np.zeros(60))


def test_canonical_needs_pairs_of_the_banks():
    data = arrays(16)
    with pytest.raises(InputError, match="share ids"):
        fit("canonical", **data)
    with pytest.raises(InputError, match="share ids"):
        fit("canonical", **data, query_bank_ids=np.arange(30), gallery_bank_ids=100 + np.arange(25))


def test_a_dynamic_method_cannot_follow_a_mover_with_a_bias_of_its_own():
    with pytest.raises(InputError, match="corrects some queries only"):
        fit("centered+dynamic_inverted_softmax", **arrays())


def test_a_row_with_all_bank_rows_masked_gets_the_mean_of_the_gallery_bank():
    data = arrays(10, n=4, m=20, h=10)
    c = fit(
        "nnn", **data, gallery_ids=["same", "a", "b", "c"], query_bank_ids=["same"] * 20,
        gallery_bank_ids=["same", *"defghijkl"], k=4,
    )  # fmt: skip
    _, bias = reference(
        "nnn", data["gallery_bank"][1:], data["query_bank"], data["gallery_bank"],
        {"alpha": 0.75, "k": 4},
    )  # fmt: skip
    np.testing.assert_allclose(c.bias[0], bias.mean(), atol=1e-6)


@pytest.mark.parametrize("mover", ["none", "invgc_local", "canonical"])
def test_an_average_is_the_mean_of_the_biases_of_its_members(mover):
    data = paired_arrays(17)
    members = [
        ["nnn", {}],
        ["sinkhorn", {}],
        ["inverted_softmax", {}],
        ["dual_inverted_softmax", {}],
    ]
    prefix = "" if mover == "none" else f"{mover}+"
    single = [fit(prefix + name, **data, **params) for name, params in members]
    c = fit(f"{prefix}average", **data, members=members)
    np.testing.assert_array_equal(c.vectors, single[0].vectors)
    np.testing.assert_allclose(c.bias, np.mean([s.bias for s in single], axis=0), atol=1e-6)


@pytest.mark.parametrize(
    "members",
    ["nnn", [], ["nnn"], [["local_scaling", {}]], [["nnn", {"k": 0}]], [["average", {}]], None, 3],
)
def test_members_that_cannot_be_averaged_are_reported(members):
    with pytest.raises(InputError, match=r"members of average|k of nnn"):
        fit("average", **arrays(), members=members)


def test_an_average_of_recipes_survives_json():
    """A release stores method and parameters as JSON."""
    few = [recipe("canonical+nnn", {"k": 4}), recipe("canonical+sinkhorn")]
    best = average_of(few)
    stored = json.loads(json.dumps(best.spec))
    assert recipe(*stored) == best
    assert best.name == "canonical+average"
    assert best.title == "canonical+average, of nnn (alpha 0.75, k 4) and sinkhorn (beta 20),"


def test_the_page_of_corrections_lists_all_methods_with_their_defaults():
    page = (Path(__file__).parents[2] / "docs/corrections.md").read_text()
    for name, method in METHODS.items():
        defaults = ", ".join(f"{p}={json.dumps(v)}" for p, v in method.defaults.items())
        row = f"| `{name}` | {defaults and f'`{defaults}`'}".replace(".0", "").rstrip()
        assert row + " |" in page, row
