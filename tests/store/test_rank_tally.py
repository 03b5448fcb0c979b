"""Ranks from tiles agree with the evaluation of the whole gallery."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from store.corrections import Correction, evaluate
from store.corrections.rank_tally import NO_KEY, RankedItems, Tally, TallyCount
from store.metrics.retrieval import Relevant

K = 3


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    items=st.integers(1, 60),
    tile=st.integers(1, 20),
    part=st.integers(1, 30),
    with_ties=st.booleans(),
    excludes=st.booleans(),
    most_listed=st.sampled_from([0.0, 0.5, 1.0]),
)
def test_tiles_in_any_order_give_the_ranks_of_the_whole_gallery(
    seed: int,
    items: int,
    tile: int,
    part: int,
    with_ties: bool,
    excludes: bool,
    most_listed: float,
) -> None:
    rng = np.random.default_rng(seed)
    gallery = rng.normal(size=(items, 6)).astype(np.float32)
    if with_ties:
        gallery = gallery[rng.integers(0, items, items)]
    gallery /= np.linalg.norm(gallery, axis=1, keepdims=True)
    bias = rng.normal(scale=0.1, size=items).astype(np.float32) * (not with_ties)
    queries = rng.normal(size=(5, 6)).astype(np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    answers = [rng.choice(items, rng.integers(0, min(items, 4) + 1), False) for _ in queries]
    relevant = Relevant.of(answers)
    others = [np.setdiff1d(np.arange(items), a) for a in answers]
    own = np.array([o[0] if excludes and len(o) else -1 for o in others])
    expected = evaluate(Correction("none", {}, gallery, bias), queries, relevant, k=K, exclude=own)

    keys = np.arange(1, items + 1, dtype=np.uint64)  # ties are ordered by the row, as expected
    scores = (queries @ gallery.T - bias)[relevant.query, relevant.rows]
    excluded = np.where(own >= 0, keys[own], NO_KEY)
    ranked = RankedItems(relevant, scores, keys[relevant.rows], excluded)
    order, tally = rng.permutation(items), None
    for start in range(0, items, part):
        count = TallyCount(ranked, K, most_listed)
        for first in range(start, min(start + part, items), tile):
            rows = np.sort(order[first : min(first + tile, start + part)])
            count.add(queries @ gallery[rows].T - bias[rows], keys[rows], rows % 2 == 0)
        tally = count.result() if tally is None else tally + count.result()
    assert tally is not None
    np.testing.assert_array_equal(tally.ahead + 1, expected.ranks)
    is_item = tally.top > -np.inf
    assert (tally.flags[is_item] == (tally.keys[is_item] % 2 == 1)).all()
    assert (tally.keys[~is_item] == NO_KEY).all() or excludes
    if not with_ties:
        counts = np.bincount(tally.keys[is_item].astype(int) - 1, minlength=items)
        np.testing.assert_array_equal(counts, expected.counts)


def test_tallies_of_parts_of_the_queries_are_joined() -> None:
    relevant = Relevant.of([[0], [1, 2], []])
    ranked = RankedItems(
        relevant,
        np.array([0.5, 0.4, 0.1], np.float32),
        np.array([1, 2, 3], np.uint64),
        np.full(3, NO_KEY),
    )
    scores = np.array([[0.5, 0.6, 0.1], [0.2, 0.4, 0.1], [0.3, 0.2, 0.1]], np.float32)
    keys, flags = np.array([1, 2, 3], np.uint64), np.zeros(3, bool)

    def tally(start: int, stop: int) -> Tally:
        count = TallyCount(ranked.part(start, stop), K)
        count.add(scores[start:stop].copy(), keys, flags)
        return count.result()

    whole, joined = tally(0, 3), Tally.join([tally(0, 1), tally(1, 3)])
    assert whole.ahead.tolist() == [1, 0, 2]
    np.testing.assert_array_equal(joined.ahead, whole.ahead)
    np.testing.assert_array_equal(joined.keys, whole.keys)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    items=st.integers(0, 40),
    removed=st.lists(st.integers(0, 12), min_size=1, max_size=5),
    added=st.integers(0, 15),
    excludes=st.booleans(),
)
def test_a_tally_follows_items_that_come_and_go(
    seed: int, items: int, removed: list[int], added: int, excludes: bool
) -> None:
    """Counts are exact, and so are the first K of every list that says that it reaches K."""
    rng = np.random.default_rng(seed)
    count = np.array([1, 0, 2, 1])
    relevant = Relevant(np.repeat(np.arange(4), count), np.zeros(4, np.int64), count)
    ranked = RankedItems(
        relevant,
        rng.normal(size=4).astype(np.float32),
        np.arange(1, 5, dtype=np.uint64),
        np.array([5, 6, 5, 7] if excludes else [0] * 4, np.uint64),
    )
    scores = rng.normal(size=(4, items + len(removed) * added)).astype(np.float32)

    def tally(rows: np.ndarray) -> Tally:
        whole = TallyCount(ranked, 2 * K)
        for part in np.array_split(np.sort(rows), 3):
            keys = (part + 5).astype(np.uint64)
            whole.add(scores[:, part].copy(), keys, part % 2 == 0)
        return whole.result()

    rows = np.arange(items)
    current = tally(rows)
    for step, lost in enumerate(removed):
        gone = rng.choice(rows, min(lost, len(rows)), replace=False)
        new = np.arange(items + step * added, items + (step + 1) * added)
        rows = np.concatenate([np.setdiff1d(rows, gone), new]).astype(np.int64)
        current = current.without(tally(gone), (gone + 5).astype(np.uint64)) + tally(new)
        expected = tally(rows)
        np.testing.assert_array_equal(current.ahead, expected.ahead)
        reaches = current.reaches(K)
        for name in ("top", "keys", "flags"):
            mine, full = (
                np.where(t.cut(K).top > -np.inf, getattr(t.cut(K), name), 0)
                for t in (current, expected)
            )
            np.testing.assert_array_equal(mine[reaches], full[reaches])
        if not gone.size:
            assert reaches.all() or step
        queries = np.flatnonzero(reaches)
        taken, counts = current.take(queries, count), count[queries]
        np.testing.assert_array_equal(
            taken.take(np.arange(len(queries)), counts).ahead, taken.ahead
        )
        assert len(taken.ahead) == counts.sum()
