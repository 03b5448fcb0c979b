"""A space of two modalities in which some items were planted to answer every query."""

import numpy as np

from tests.helpers.dense import norm

ITEMS, QUERIES, TOPICS, DIM, K = 5_000, 600, 60, 64, 10


def planted_space(seed: int, planted: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Items (n, d) and queries (m, d) float32, and the rows of the planted items, the last ones.

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
    items, queries = items.astype(np.float32), queries.astype(np.float32)
    return items, queries, np.arange(ITEMS - planted, ITEMS)
