"""Planted hubs are recognised by how many unrelated queries they answer."""

import numpy as np
import pytest

from store.metrics.poisoned_hubs import BUDGET, suspects
from tests.helpers.planted_hubs import ITEMS, QUERIES, K, planted_space


def space(seed: int, planted: int) -> np.ndarray:
    """k-occurrence of a space whose last items were planted."""
    items, queries, _ = planted_space(seed, planted)
    best = np.argpartition(-(queries @ items.T), K, axis=1)[:, :K]
    return np.bincount(best.ravel(), minlength=ITEMS)


@pytest.mark.parametrize("seed", range(3))
def test_planted_hubs_are_within_the_budget_of_alerts(seed):
    planted = 10
    occurrence = space(seed, planted)
    found = set(suspects(occurrence, QUERIES).tolist())
    assert len(found) <= BUDGET * ITEMS
    assert len(found & set(range(ITEMS - planted, ITEMS))) >= 0.9 * planted


@pytest.mark.parametrize("seed", range(3))
def test_natural_hubs_raise_no_alert(seed):
    occurrence = space(seed, planted=0)
    assert occurrence.max() > 3 * K * QUERIES / ITEMS  # there are hubs
    assert not len(suspects(occurrence, QUERIES))


def test_without_items_or_queries_nothing_is_suspect():
    assert not len(suspects(np.empty(0, np.int32), 10))
    assert not len(suspects(np.zeros(5, np.int32), 0))
