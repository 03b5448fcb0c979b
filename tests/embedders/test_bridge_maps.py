"""The maps of bridges, compared with dense references, and on planted rotations."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from embedders.alignment.bridge import (
    Products,
    Rows,
    bridge_maps,
    curved_maps,
    mean_cosines,
    orthogonal_map,
    ridge_map,
)
from embedders.encoder import unit_rows
from embedders.projection import gelu
from store.errors import InputError


def unit(rng: np.random.Generator, rows: int, dim: int) -> np.ndarray:
    return unit_rows(rng.normal(size=(rows, dim)) + 0.3)


def pairs(rng: np.random.Generator, rows: int, new: int, old: int) -> Rows:
    return Rows(unit(rng, rows, new), unit(rng, rows, old))


@given(st.integers(0, 1000), st.integers(2, 9), st.integers(2, 9), st.sampled_from([1e-3, 0.1, 10]))
def test_the_ridge_map_minimises_its_objective(seed, new, old, penalty):
    """Row-augmented least squares: penalty rows sqrt(p) I with targets zero, each group by 1/n."""
    rng = np.random.default_rng(seed)
    groups = [pairs(rng, 60, new, old), pairs(rng, 25, new, old)]
    x = np.concatenate([g.new / np.sqrt(len(g)) for g in groups]).astype(np.float64)
    y = np.concatenate([g.old / np.sqrt(len(g)) for g in groups]).astype(np.float64)
    shrink = np.sqrt(penalty * np.square(x).sum() / new) * np.eye(new)
    dense = np.linalg.lstsq(
        np.concatenate([x, shrink]), np.concatenate([y, np.zeros((new, old))]), rcond=None
    )[0]
    np.testing.assert_allclose(ridge_map(Products.of(groups), penalty), dense, atol=1e-5)


@given(st.integers(0, 1000), st.integers(2, 8))
def test_no_orthogonal_map_has_a_larger_mean_cosine(seed, dim):
    rng = np.random.default_rng(seed)
    rows = pairs(rng, 60, dim, dim)
    found = orthogonal_map(Products.of([rows]))
    np.testing.assert_allclose(found @ found.T, np.eye(dim), atol=1e-4)
    best = np.einsum("nd,nd->n", rows.new @ found, rows.old).mean()
    for _ in range(5):
        other = np.linalg.qr(rng.normal(size=(dim, dim)))[0]
        assert np.einsum("nd,nd->n", rows.new @ other, rows.old).mean() <= best + 1e-5


@pytest.mark.parametrize(("new", "old"), [(32, 32), (48, 32), (32, 48)])
def test_a_planted_rotation_is_recovered_from_texts_and_brings_images(new, old):
    """Images lie around another mean than texts: the map of texts alone brings them too."""
    rng = np.random.default_rng(0)
    turn = np.linalg.qr(rng.normal(size=(max(new, old),) * 2))[0][:new, :old].astype(np.float32)
    inner = min(new, old)
    basis = turn @ turn.T if new > old else np.eye(new)
    gap = np.zeros(new) + np.r_[2.0, np.zeros(new - 1)]
    texts, images = (unit_rows((rng.normal(size=(600, new)) + shift) @ basis) for shift in (0, gap))
    noise = 0.02 * rng.normal(size=(600, old))
    rows = Rows(texts, unit_rows(texts @ turn + noise))
    maps = dict(bridge_maps([rows]))
    held_out = Rows(images, unit_rows(images @ turn))
    for name in ("orthogonal", "ridge 0.001"):
        assert mean_cosines(maps[name], held_out) > 0.98, (name, inner)


def test_maps_of_fewer_rows_than_dimensions_are_finite():
    rng = np.random.default_rng(1)
    rows = pairs(rng, 60, 200, 150)
    for _, bridge in bridge_maps([rows]):
        assert np.isfinite(bridge(rows.new)).all()
        assert mean_cosines(bridge, rows) > 0.3


@pytest.mark.parametrize(
    ("new", "old", "message"),
    [
        (np.ones((60, 4)), np.ones((59, 4)), r"rows \(n, d_new\) and \(n, d_old\)"),
        (np.ones(60), np.ones((60, 4)), r"rows \(n, d_new\) and \(n, d_old\)"),
        (np.full((60, 4), np.nan), np.ones((60, 4)), "leave out rows with NaN"),
        (np.ones((60, 4)), np.full((60, 4), np.inf), "leave out rows with NaN"),
    ],
)
def test_rows_that_do_not_fit_are_refused(new, old, message):
    with pytest.raises(InputError, match=message):
        Rows(new, old)


def test_too_few_rows_and_other_widths_are_refused():
    rng = np.random.default_rng(2)
    with pytest.raises(InputError, match=r"49 parts .* too few"):
        list(bridge_maps([pairs(rng, 49, 8, 8)]))
    with pytest.raises(InputError, match="differ in width"):
        list(bridge_maps([pairs(rng, 60, 8, 8), pairs(rng, 60, 9, 8)]))
    with pytest.raises(InputError, match="too few"):
        list(bridge_maps([pairs(rng, 60, 8, 8), pairs(rng, 0, 8, 8)]))


def test_a_curved_map_is_the_ridge_regression_of_its_units():
    """The dense fit of [x, s gelu(xH + h)] with the tensors' own H and h."""
    rng = np.random.default_rng(3)
    rows = pairs(rng, 80, 6, 5)
    for name, bridge in curved_maps([rows]):
        t = bridge.tensors
        hidden = gelu(rows.new @ t["hidden_weight"] + t["hidden_bias"])
        scale = 1 / (2 * np.sqrt(hidden.shape[1]))
        x = np.concatenate([rows.new, scale * hidden], axis=1).astype(np.float64) / np.sqrt(80)
        penalty = float(name.rpartition(" ")[2]) * np.square(x).sum() / x.shape[1]
        dense = x.T @ np.linalg.solve(x @ x.T + penalty * np.eye(80), rows.old / np.sqrt(80))
        np.testing.assert_allclose(t["weight"], dense[:6], atol=1e-3)
        np.testing.assert_allclose(t["out_weight"], scale * dense[6:], atol=1e-3)


def test_a_curved_map_undoes_what_no_linear_map_can():
    rng = np.random.default_rng(4)
    new = unit_rows(rng.normal(size=(1200, 6)))
    old = unit_rows(np.abs(new) - np.abs(new).mean(0))
    learned, held_out = Rows(new[:900], old[:900]), Rows(new[900:], old[900:])
    linear = max(mean_cosines(bridge, held_out) for _, bridge in bridge_maps([learned]))
    curved = max(mean_cosines(bridge, held_out) for _, bridge in curved_maps([learned]))
    assert curved > 0.8
    assert linear < 0.4
