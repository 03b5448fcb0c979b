"""Measures against the plainest loops over full rankings."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import isotrope
from store import metrics
from store.corrections import Correction, evaluate, fit
from store.errors import InputError
from store.metrics import Relevant
from tests.helpers import dense


@st.composite
def judged(draw):
    """Scores with many ties, and for each query none, one or several right answers."""
    m, n = draw(st.integers(1, 8)), draw(st.integers(2, 12))
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    scores = rng.integers(0, 6, (m, n)).astype(np.float32)
    return scores, [rng.permutation(n)[: rng.integers(0, 4)] for _ in range(m)]


def positions(scores, right):
    """Sorted 1-based ranks of the right answers of each query."""
    order = dense.top(scores, scores.shape[1])
    return [sorted(order[i].tolist().index(g) + 1 for g in r) for i, r in enumerate(right)]


@given(judged())
def test_retrieval_measures_agree_with_plain_loops(case):
    scores, right = case
    relevant = Relevant.of(right, scores.shape[1])
    ranks = metrics.relevant_ranks(scores, relevant)
    expected = positions(scores, right)
    for i, places in enumerate(expected):
        assert sorted(ranks[relevant.query == i]) == places
    first = metrics.first_ranks(ranks, relevant)
    np.testing.assert_array_equal(first, [min(p, default=np.inf) for p in expected])
    np.testing.assert_allclose(
        metrics.reciprocal_rank(first), [1 / min(p) if p else 0 for p in expected]
    )
    for k in (1, 3):
        hits = [any(place <= k for place in p) for p in expected]
        np.testing.assert_array_equal(metrics.recall_at(first, k), hits)
        gains = [
            sum(1 / np.log2(1 + place) for place in p if place <= k)
            / sum(1 / np.log2(1 + i) for i in range(1, min(k, len(p)) + 1))
            if p else np.nan
            for p in expected
        ]  # fmt: skip
        np.testing.assert_allclose(metrics.ndcg(ranks, relevant, k), gains)
    precision = [
        np.mean([(i + 1) / place for i, place in enumerate(p)]) if p else np.nan for p in expected
    ]
    np.testing.assert_allclose(metrics.average_precision(ranks, relevant), precision)
    lists = dense.top(scores, 4)
    listed = metrics.list_ranks(lists, relevant)
    np.testing.assert_array_equal(listed, np.where(ranks <= 4, ranks, np.inf))


def test_one_right_answer_a_query_may_be_an_array():
    a, b = Relevant.of(np.array([2, 0, 1])), Relevant.of([[2], [0], [1]])
    np.testing.assert_array_equal(a.rows, b.rows)
    with pytest.raises(InputError, match="rows 0 to 2"):
        Relevant.of([[3]], gallery=3)


@given(st.integers(0, 10**6), st.integers(1, 10), st.integers(1, 5))
def test_hubness_measures_agree_with_plain_loops(seed, items, k):
    rng = np.random.default_rng(seed)
    lists = rng.integers(0, items, (20, k))
    counts = metrics.k_occurrence(lists, items)
    plain = [sum(row.tolist().count(i) for row in lists) for i in range(items)]
    np.testing.assert_array_equal(counts, plain)
    mean = np.mean(plain)
    deviation = np.std(plain)
    skew = np.mean([(c - mean) ** 3 for c in plain]) / deviation**3 if deviation else 0
    assert metrics.skewness(counts) == pytest.approx(skew, abs=1e-9)
    moved = sum(c - mean for c in plain if c > mean) / sum(plain)
    assert metrics.robin_hood(counts) == pytest.approx(moved, abs=1e-12)
    hubs = sum(c for c in plain if c >= 2 * mean) / sum(plain)
    assert metrics.hub_share(counts) == pytest.approx(hubs)
    assert metrics.anti_hub_share(counts) == pytest.approx(plain.count(0) / items)


def test_geometry_agrees_with_plain_loops():
    rng = np.random.default_rng(0)
    x, y = dense.norm(rng.normal(size=(30, 5))), dense.norm(rng.normal(size=(30, 5)))
    assert metrics.alignment(x, y) == pytest.approx(
        np.mean([np.sum((a - b) ** 2) for a, b in zip(x, y, strict=True)])
    )
    potential = [np.exp(-2 * np.sum((x[i] - x[j]) ** 2)) for i in range(30) for j in range(i)]
    assert metrics.uniformity(x) == pytest.approx(np.log(np.mean(potential)))
    many = dense.norm(rng.normal(size=(3000, 5)))
    assert metrics.uniformity(many) == pytest.approx(metrics.uniformity(many, rows=2000), abs=0.1)
    assert np.isnan(metrics.uniformity(x[:1]))
    assert metrics.modality_gap(x, x + 3) == pytest.approx(3 * np.sqrt(5))


def test_rank_variance_is_of_the_languages_that_an_item_is_told_of_in():
    assert metrics.mean_rank_variance(np.array([[1, 5], [3, 5]])) == pytest.approx(0.5)
    ranks = np.array([[1, 5, 7, np.nan], [3, 5, np.nan, np.nan], [8, 5, np.nan, np.nan]])
    expected = np.mean([np.var([1, 3, 8]), 0.0])  # the third item is told of in one language alone
    assert metrics.mean_rank_variance(ranks) == pytest.approx(expected)
    assert np.isnan(metrics.mean_rank_variance(ranks[:, 2:]))


def test_bootstrap_covers_the_mean_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    inside = 0
    for seed in range(200):
        interval = metrics.bootstrap(rng.normal(size=80), resamples=400, seed=seed)
        inside += interval.low <= 0 <= interval.high
    assert 180 <= inside <= 198
    values = rng.normal(size=50)
    assert metrics.bootstrap(values, seed=3) == metrics.bootstrap(values, seed=3)
    assert metrics.paired_bootstrap(values + 1, values).low == pytest.approx(1)


def test_groups_widen_the_interval_of_values_that_move_together():
    values = np.repeat(np.random.default_rng(0).normal(size=40), 5)
    alone = metrics.bootstrap(values)
    grouped = metrics.bootstrap(values, groups=np.repeat(np.arange(40), 5))
    assert grouped.high - grouped.low > 1.8 * (alone.high - alone.low)


def test_measures_that_are_resampled_together_are_each_as_if_alone():
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 30, 90)
    values = {"a": rng.normal(size=90), "b": rng.random(90)}
    together = metrics.bootstrap_many(values, groups=groups, seed=5)
    for name, alone in values.items():
        np.testing.assert_allclose(together[name], metrics.bootstrap(alone, groups=groups, seed=5))


def test_what_a_measure_does_not_know_is_left_out_of_its_interval():
    rng = np.random.default_rng(0)
    values = rng.normal(size=200)
    padded = np.concatenate([values, np.full(50, np.nan)])
    found = metrics.bootstrap_many({"some": padded, "none": np.full(250, np.nan)})
    alone = metrics.bootstrap(values)
    assert found["some"].mean == alone.mean
    np.testing.assert_allclose(found["some"], alone, atol=0.02)
    assert np.isnan(found["none"]).all()
    assert np.isnan(metrics.bootstrap(np.empty(0))).all()


def _world(seed=3):
    rng = np.random.default_rng(seed)
    return (dense.norm(rng.normal(size=(r, 8)) + 0.5).astype(np.float32) for r in (60, 40, 25))


def test_intervals_are_about_the_figures_and_gains_about_their_differences():
    gallery, bank, queries = _world()
    fitted = {"query_bank": bank, "gallery_bank": gallery[:30], "gallery": gallery}
    right = [[i, i + 1][: i % 3] for i in range(25)]  # none, one or two
    groups = np.arange(25) // 5
    raw, new = (evaluate(fit(m, **fitted), queries, right, groups=groups) for m in ("none", "nnn"))
    figures, intervals = new.figures(), new.intervals()
    assert set(intervals) == {"r@1", "r@5", "r@10", "mrr", "map", "ndcg@10"}
    for name, found in intervals.items():
        assert found.mean == pytest.approx(figures[name])
        assert found.low <= found.mean <= found.high
    answered = [len(r) > 0 for r in right]
    precision = metrics.average_precision(new.ranks, new.relevant)[answered]
    assert figures["map"] == pytest.approx(precision.mean())
    gains = new.gains(raw)
    for name in intervals:
        assert gains[name].mean == pytest.approx(figures[name] - raw.figures()[name])
    expected = metrics.paired_bootstrap(new.reciprocal_ranks, raw.reciprocal_ranks, groups=groups)
    np.testing.assert_allclose(gains["mrr"], expected)
    with pytest.raises(InputError, match="same queries"):
        new.gains(evaluate(fit("none", **fitted), queries[:5], right[:5]))
    with pytest.raises(InputError, match="groups must hold"):
        evaluate(fit("none", **fitted), queries, right, groups=groups[:3])


@pytest.mark.parametrize("method", ["none", "nnn", "dynamic_inverted_softmax"])
def test_scores_of_matching_and_of_unrelated_pairs_are_those_of_the_ranking(method):
    gallery, bank, queries = _world()
    c = fit(method, gallery=gallery, query_bank=bank, gallery_bank=gallery[:30])
    right = [[i, i + 7] for i in range(25)]
    exclude = np.arange(25) + 1
    seen = evaluate(c, queries, right, exclude=exclude)
    matching, others = [], set()
    for i, query in enumerate(queries):
        lists, scores = c.rank(query[None], 60, where=np.arange(60) != exclude[i])
        by_row = dict(zip(lists[0].tolist(), scores[0].tolist(), strict=True))
        matching += [by_row[row] for row in right[i]]
        others |= {round(s, 5) for row, s in by_row.items() if row not in right[i]}
    np.testing.assert_allclose(seen.matching, matching, atol=1e-5)
    assert {round(s, 5) for s in seen.unrelated.tolist()} <= {
        round(s + d, 5) for s in others for d in (-1e-5, 0, 1e-5)
    }
    assert len(seen.unrelated) > 300


def test_an_evaluation_on_queries_of_the_bank_is_labelled():
    gallery, bank, queries = _world()
    ids = np.array([f"q{i}" for i in range(25)])
    known = {"gallery": gallery, "gallery_bank": gallery[:30]}
    both = np.concatenate([bank, queries])
    all_ids = np.concatenate([[f"b{i}" for i in range(40)], ids])
    inductive = fit("nnn", query_bank=bank, query_bank_ids=all_ids[:40], **known)
    transductive = fit("nnn", query_bank=both, query_bank_ids=all_ids, **known)
    raw = fit("none", query_bank=both, query_bank_ids=all_ids, **known)
    right = np.arange(25)

    def label(c, **options):
        return evaluate(c, queries, right, **options).protocol

    assert label(inductive, query_ids=ids) == "inductive"
    assert label(transductive, query_ids=ids) == "transductive"
    assert label(raw, query_ids=ids) == "inductive"  # raw scores are fitted on nothing
    assert label(transductive) == "inductive"
    assert label(transductive, protocol="transductive") == "transductive"
    with pytest.raises(InputError, match="25 of 25 queries are in the query bank"):
        label(transductive, query_ids=ids, protocol="inductive")
    with pytest.raises(InputError, match="'inductive' or 'transductive'"):
        label(inductive, protocol="honest")
    with pytest.raises(InputError, match="can never be equal"):
        label(inductive, query_ids=np.arange(25))


def test_an_evaluation_is_shown_and_given_as_json(capsys):
    gallery, bank, queries = _world()
    c = fit("nnn", gallery=gallery, query_bank=bank, gallery_bank=gallery[:30])
    seen = isotrope.evaluate(c, queries, [[], *([i] for i in range(24))], protocol="transductive")
    seen.show()
    shown = capsys.readouterr().out
    assert "transductive: 25 queries, 60 items" in shown
    assert "robin_hood" in shown
    told = json.loads(json.dumps(seen.summary(), allow_nan=False))
    assert told["protocol"] == "transductive"
    assert told["figures"]["mrr"] == seen.figures()["mrr"]
    assert told["intervals"]["map"]["low"] <= told["figures"]["map"]


@pytest.mark.parametrize("method", ["nnn", "dynamic_inverted_softmax"])
def test_evaluation_of_a_correction_agrees_with_its_ranking(method):
    rng = np.random.default_rng(1)
    gallery, bank, queries = (dense.norm(rng.normal(size=(r, 8)) + 0.5) for r in (60, 40, 25))
    c = fit(method, gallery=gallery, query_bank=bank, gallery_bank=gallery[:30])
    right = [rng.permutation(60)[:2] for _ in queries]
    seen = evaluate(c, queries, right, k=5)
    lists, _ = c.rank(queries, 60)
    np.testing.assert_array_equal(seen.ranks, metrics.list_ranks(lists, Relevant.of(right)))
    np.testing.assert_array_equal(seen.counts, metrics.k_occurrence(lists[:, :5], 60))
    assert seen.figures()["r@5"] == np.mean(metrics.recall_at(seen.first, 5))
    with pytest.raises(InputError, match="entries for"):
        evaluate(c, queries, right[:3])


@pytest.mark.parametrize("method", ["none", "nnn", "dynamic_inverted_softmax"])
@pytest.mark.parametrize("k", [5, 60])
def test_an_excluded_row_is_as_if_it_were_not_in_the_gallery(method, k):
    rng = np.random.default_rng(2)
    gallery, bank = (dense.norm(rng.normal(size=(r, 8)) + 0.5).astype(np.float32) for r in (60, 40))
    c = fit(method, gallery=gallery, query_bank=bank, gallery_bank=gallery[:30])
    asked = np.array([3, 59, 17, 0])
    right = [[4, 9], [0], [16, 18, 40], [1]]
    exclude = np.array([3, 59, -1, 0])
    seen = evaluate(c, gallery[asked], right, k=k, exclude=exclude)
    counts = np.zeros(60, np.int64)
    for i, query in enumerate(gallery[asked]):
        admitted = np.arange(60) != exclude[i]
        lists, _ = c.rank(query[None], 60, where=admitted)
        places = [lists[0].tolist().index(g) + 1 for g in right[i]]
        np.testing.assert_array_equal(seen.ranks[seen.relevant.query == i], places)
        counts[lists[0, :k]] += 1
    np.testing.assert_array_equal(seen.counts, counts)


def test_what_is_excluded_is_checked():
    gallery = np.eye(4, dtype=np.float32)
    c = fit("none", gallery=gallery, query_bank=gallery, gallery_bank=gallery)
    for exclude, said in (
        (np.array([0]), "for each of 2 queries"),
        (np.array([0.0, 1.0]), "float64"),
        (np.array([0, 4]), "rows 0 to 3"),
        (np.array([-2, 1]), "use -1 to exclude nothing"),
        (np.array([1, -1]), "query 0 both excludes gallery row 1"),
    ):
        with pytest.raises(InputError, match=said):
            evaluate(c, gallery[:2], np.array([1, 0]), exclude=exclude)


def test_what_noise_tells_apart_is_tied() -> None:
    rng = np.random.default_rng(5)
    items = rng.normal(size=(40, 16))
    items[20:] = items[:20]  # every item twice: the earlier one comes first, whatever the noise
    right = np.arange(40)
    found = []
    for noise in (0.0, 1e-8, -1e-8):
        moved = items + noise * np.sign(rng.normal(size=items.shape))
        gallery = (moved / np.linalg.norm(moved, axis=1, keepdims=True)).astype(np.float32)
        raw = Correction("none", {}, gallery, np.zeros(40, np.float32))
        found.append(evaluate(raw, gallery, right).first)
    np.testing.assert_array_equal(found[0], [1] * 20 + [2] * 20)
    np.testing.assert_array_equal(found[1], found[0])
    np.testing.assert_array_equal(found[2], found[0])
