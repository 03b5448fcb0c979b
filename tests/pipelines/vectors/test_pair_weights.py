"""Weights of pairs: planted mismatches weigh little, and a head that is learned with them gains."""

import numpy as np
import pytest

from embedders.alignment.align import align, retrieval_figures
from embedders.encoder import unit_rows
from pipelines.vectors.pair_weights import pair_weights

SETTINGS = {"epochs": 20, "learning_rate": 1e-2, "dim": 12}


def planted(pairs: int, swapped: int) -> tuple[np.ndarray, np.ndarray]:
    """Random x, and y as unit rows of a linear map of it with noise; some partners are swapped."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(pairs, 24)).astype(np.float32)
    y = unit_rows(x @ rng.normal(size=(24, 12)) + 2 * rng.normal(size=(pairs, 12)))
    y[:swapped] = np.roll(y[:swapped], 1, axis=0)
    return x, y


@pytest.mark.parametrize("two_sided", [False, True])
def test_planted_mismatches_weigh_little_and_cost_less(two_sided):
    x, y = planted(700, 200)
    train, test = slice(0, 500), slice(500, 700)
    options = {"groups": np.arange(500), "two_sided": two_sided, **SETTINGS}
    weights = pair_weights(x[train], [y[train]], **options)
    assert weights.dtype == np.float32
    assert weights[:200].mean() < 0.25
    assert weights[200:].mean() > 0.85

    def recall(weights: np.ndarray | None) -> float:
        learned = align(x[train], [y[train]], weights=weights, **options)
        targets = y[test] if learned.y is None else learned.y(y[test])
        return retrieval_figures(learned.x(x[test]), targets)[0]["r@1"]

    assert recall(weights) > recall(None) + 0.05


def test_matching_pairs_keep_their_weight():
    x, y = planted(400, 0)
    weights = pair_weights(x, [y], groups=np.arange(400), **SETTINGS)
    assert weights.mean() > 0.95


def test_too_few_pairs_weigh_one():
    x, y = planted(40, 10)
    assert pair_weights(x, [y], groups=np.arange(40), **SETTINGS).tolist() == [1] * 40


def test_a_missing_anchor_is_left_out():
    x, y = planted(400, 100)
    first, second = y.copy(), y.copy()
    first[::2], second[1::2] = np.nan, np.nan
    weights = pair_weights(x, [first, second], groups=np.arange(400), **SETTINGS)
    assert weights[:100].mean() < 0.4 < 0.8 < weights[100:].mean()


def test_pairs_that_share_a_part_are_judged_by_other_heads():
    x, y = planted(400, 0)
    groups = np.arange(400)
    x[1::4], y[1::4] = x[::4], y[::4]  # repeated pairs, which a head of theirs would fit
    groups[1::4] = groups[::4]
    weights = pair_weights(x, [y], groups=groups, **SETTINGS)
    assert weights[::4] == pytest.approx(weights[1::4], abs=0.05)
