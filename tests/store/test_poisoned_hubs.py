"""Planted hubs are recognised by how many unrelated queries they answer."""

import numpy as np
import pytest

from store.metrics.poisoned_hubs import BUDGET, suspects
from tests.helpers.dense import norm

ITEMS, QUERIES, TOPICS, DIM, K = 5_000, 600, 60, 64, 10


def space(seed: int, planted: int) -> np.ndarray:
    """k-occurrence of a space of two modalities, whose last items were planted.

    Queries and items of a topic share a direction, and each modality has a direction of its own,
    as in CLIP's spaces. Items that are nearer to the queries' direction are natural hubs. A planted
    item is mixed from an item and the mean of many queries, as an attacker who knows typical
    queries would make it.
    """
    rng = np.random.default_rng(seed)
    topics = norm(rng.normal(size=(TOPICS, DIM)))
    of_items, of_queries = norm(rng.normal(size=(2, DIM)))
    spread = rng.normal(size=(ITEMS, 1))
    signal = topics[rng.integers(TOPICS, size=ITEMS)] + 0.1 * rng.normal(size=(ITEMS, DIM))
    items = norm(signal + of_items + 0.08 * spread * of_queries)
    signal = topics[rng.integers(TOPICS, size=QUERIES)] + 0.1 * rng.normal(size=(QUERIES, DIM))
    queries = norm(signal + of_queries)
    for number in range(planted):
        seen = queries[rng.choice(QUERIES, 200, replace=False)].mean(axis=0)
        items[ITEMS - 1 - number] = norm(0.5 * items[ITEMS - 1 - number] + norm(seen))
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
