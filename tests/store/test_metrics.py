"""Measures and evaluations against simple loops over full rankings."""

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
def scores_and_relevant(draw):
    """Scores with many ties, and for each query zero to three relevant items."""
    m, n = draw(st.integers(1, 8)), draw(st.integers(2, 12))
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    scores = rng.integers(0, 6, (m, n)).astype(np.float32)
    return scores, [rng.permutation(n)[: rng.integers(0, 4)] for _ in range(m)]


def sorted_ranks(scores, right):
    """Sorted 1-based ranks of the relevant items of each query."""
    order = dense.top(scores, scores.shape[1])
    return [sorted(order[i].tolist().index(g) + 1 for g in r) for i, r in enumerate(right)]


@given(scores_and_relevant())
def test_retrieval_measures_equal_simple_loops(case):
    scores, right = case
    relevant = Relevant.of(right, scores.shape[1])
    ranks = metrics.relevant_ranks(scores, relevant)
    expected = sorted_ranks(scores, right)
    for i, query_ranks in enumerate(expected):
        assert sorted(ranks[relevant.query == i]) == query_ranks
    first = metrics.first_ranks(ranks, relevant)
    np.testing.assert_array_equal(first, [min(r, default=np.inf) for r in expected])
    np.testing.assert_allclose(
        metrics.reciprocal_rank(first), [1 / min(r) if r else 0 for r in expected]
    )
    for k in (1, 3):
        hits = [any(rank <= k for rank in r) for r in expected]
        np.testing.assert_array_equal(metrics.recall_at(first, k), hits)
        gains = [
            sum(1 / np.log2(1 + rank) for rank in r if rank <= k)
            / sum(1 / np.log2(1 + i) for i in range(1, min(k, len(r)) + 1))
            if r else np.nan
            for r in expected
        ]  # fmt: skip
        np.testing.assert_allclose(metrics.ndcg(ranks, relevant, k), gains)
    precision = [
        np.mean([(i + 1) / rank for i, rank in enumerate(r)]) if r else np.nan for r in expected
    ]
    np.testing.assert_allclose(metrics.average_precision(ranks, relevant), precision)
    lists = dense.top(scores, 4)
    list_ranks = metrics.list_ranks(lists, relevant)
    np.testing.assert_array_equal(list_ranks, np.where(ranks <= 4, ranks, np.inf))


def test_one_relevant_item_per_query_may_be_an_array():
    a, b = Relevant.of(np.array([2, 0, 1])), Relevant.of([[2], [0], [1]])
    np.testing.assert_array_equal(a.rows, b.rows)
    with pytest.raises(InputError, match="rows 0 to 2"):
        Relevant.of([[3]], gallery=3)


@given(st.integers(0, 10**6), st.integers(1, 10), st.integers(1, 5))
def test_hubness_measures_equal_simple_loops(seed, items, k):
    rng = np.random.default_rng(seed)
    lists = rng.integers(0, items, (20, k))
    counts = metrics.k_occurrence(lists, items)
    expected = [sum(row.tolist().count(i) for row in lists) for i in range(items)]
    np.testing.assert_array_equal(counts, expected)
    mean = np.mean(expected)
    deviation = np.std(expected)
    skew = np.mean([(c - mean) ** 3 for c in expected]) / deviation**3 if deviation else 0
    assert metrics.skewness(counts) == pytest.approx(skew, abs=1e-9)
    moved = sum(c - mean for c in expected if c > mean) / sum(expected)
    assert metrics.robin_hood(counts) == pytest.approx(moved, abs=1e-12)
    hubs = sum(c for c in expected if c >= 2 * mean) / sum(expected)
    assert metrics.hub_share(counts) == pytest.approx(hubs)
    assert metrics.anti_hub_share(counts) == pytest.approx(expected.count(0) / items)


def test_geometry_equals_simple_loops():
    rng = np.random.default_rng(0)
    x, y = dense.norm(rng.normal(size=(30, 5))), dense.norm(rng.normal(size=(30, 5)))
    assert metrics.alignment(x, y) == pytest.approx(
        np.mean([np.sum((a - b) ** 2) for a, b in zip(x, y, strict=True)])
    )
    potential = [np.exp(-2 * np.sum((x[i] - x[j]) ** 2)) for i in range(30) for j in range(i)]
    assert metrics.uniformity(x) == pytest.approx(np.log(np.mean(potential)))
    many = dense.norm(rng.normal(size=(3000, 5)))
    assert metrics.uniformity(many) == pytest.approx(metrics.uniformity(many, rows=2000), abs=0.1)
    all_potentials = np.exp(-2 * np.maximum(2 - 2 * many @ many.T, 0))
    expected = np.log((all_potentials.sum() - 3000) / (3000 * 2999))
    assert metrics.uniformity(many) == pytest.approx(expected, abs=1e-6)
    assert np.isnan(metrics.uniformity(x[:1]))
    assert metrics.modality_gap(x, x + 3) == pytest.approx(3 * np.sqrt(5))


def test_rank_variance_uses_the_languages_that_have_a_query_for_an_item():
    assert metrics.mean_rank_variance(np.array([[1, 5], [3, 5]])) == pytest.approx(0.5)
    ranks = np.array([[1, 5, 7, np.nan], [3, 5, np.nan, np.nan], [8, 5, np.nan, np.nan]])
    expected = np.mean([np.var([1, 3, 8]), 0.0])  # the third item has a query in only one language
    assert metrics.mean_rank_variance(ranks) == pytest.approx(expected)
    assert np.isnan(metrics.mean_rank_variance(ranks[:, 2:]))


def test_bootstrap_intervals_cover_the_mean_at_about_their_level():
    rng = np.random.default_rng(0)
    covered = 0
    for seed in range(200):
        interval = metrics.bootstrap(rng.normal(size=80), resamples=400, seed=seed)
        covered += interval.low <= 0 <= interval.high
    assert 180 <= covered <= 198
    values = rng.normal(size=50)
    assert metrics.bootstrap(values, seed=3) == metrics.bootstrap(values, seed=3)
    assert metrics.paired_bootstrap(values + 1, values).low == pytest.approx(1)


def test_groups_widen_the_interval_of_dependent_values():
    values = np.repeat(np.random.default_rng(0).normal(size=40), 5)
    ungrouped = metrics.bootstrap(values)
    grouped = metrics.bootstrap(values, groups=np.repeat(np.arange(40), 5))
    assert grouped.high - grouped.low > 1.8 * (ungrouped.high - ungrouped.low)


def test_measures_resampled_together_have_the_intervals_of_single_ones():
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 30, 90)
    values = {"a": rng.normal(size=90), "b": rng.random(90)}
    together = metrics.bootstrap_many(values, groups=groups, seed=5)
    for name, single in values.items():
        np.testing.assert_allclose(together[name], metrics.bootstrap(single, groups=groups, seed=5))


def test_queries_without_a_value_are_left_out_of_the_interval():
    rng = np.random.default_rng(0)
    values = rng.normal(size=200)
    padded = np.concatenate([values, np.full(50, np.nan)])
    intervals = metrics.bootstrap_many({"padded": padded, "none": np.full(250, np.nan)})
    unpadded = metrics.bootstrap(values)
    assert intervals["padded"].mean == unpadded.mean
    np.testing.assert_allclose(intervals["padded"], unpadded, atol=0.02)
    assert np.isnan(intervals["none"]).all()
    assert np.isnan(metrics.bootstrap(np.empty(0))).all()


def _vectors(seed=3):
    """A gallery (60, 8), a query bank (40, 8) and queries (25, 8)."""
    rng = np.random.default_rng(seed)
    return (dense.norm(rng.normal(size=(r, 8)) + 0.5).astype(np.float32) for r in (60, 40, 25))


def test_intervals_contain_the_figures_and_gains_are_their_differences():
    gallery, bank, queries = _vectors()
    fitted = {"query_bank": bank, "gallery_bank": gallery[:30], "gallery": gallery}
    right = [[i, i + 1][: i % 3] for i in range(25)]  # zero, one or two
    groups = np.arange(25) // 5
    raw, new = (evaluate(fit(m, **fitted), queries, right, groups=groups) for m in ("none", "nnn"))
    figures, intervals = new.figures(), new.intervals()
    assert set(intervals) == {"r@1", "r@5", "r@10", "mrr", "map", "ndcg@10"}
    for name, interval in intervals.items():
        assert interval.mean == pytest.approx(figures[name])
        assert interval.low <= interval.mean <= interval.high
    answered = [len(r) > 0 for r in right]
    precision = metrics.average_precision(new.ranks, new.relevant)[answered]
    assert figures["map"] == pytest.approx(precision.mean())
    gains = new.gains(raw)
    for name in intervals:
        assert gains[name].mean == pytest.approx(figures[name] - raw.figures()[name])
    expected = metrics.paired_bootstrap(new.reciprocal_ranks, raw.reciprocal_ranks, groups=groups)
    np.testing.assert_allclose(gains["mrr"], expected)
    one = {"before": raw.intervals(), "after": intervals, "gains": gains}
    for kind, compared in new.compared(raw).items():
        for name, interval in compared.items():
            np.testing.assert_allclose(interval, one[kind][name], atol=1e-12)
    with pytest.raises(InputError, match="same queries"):
        new.gains(evaluate(fit("none", **fitted), queries[:5], right[:5]))
    with pytest.raises(InputError, match="groups must hold"):
        evaluate(fit("none", **fitted), queries, right, groups=groups[:3])


@pytest.mark.parametrize("method", ["none", "nnn", "dynamic_inverted_softmax"])
def test_scores_of_matching_and_unrelated_pairs_equal_those_of_the_ranking(method):
    gallery, bank, queries = _vectors()
    c = fit(method, gallery=gallery, query_bank=bank, gallery_bank=gallery[:30])
    right = [[i, i + 7] for i in range(25)]
    exclude = np.arange(25) + 1
    evaluation = evaluate(c, queries, right, exclude=exclude)
    matching, others = [], set()
    for i, query in enumerate(queries):
        lists, scores = c.rank(query[None], 60, where=np.arange(60) != exclude[i])
        by_row = dict(zip(lists[0].tolist(), scores[0].tolist(), strict=True))
        matching += [by_row[row] for row in right[i]]
        others |= {round(s, 5) for row, s in by_row.items() if row not in right[i]}
    np.testing.assert_allclose(evaluation.matching, matching, atol=1e-5)
    assert {round(s, 5) for s in evaluation.unrelated.tolist()} <= {
        round(s + d, 5) for s in others for d in (-1e-5, 0, 1e-5)
    }
    assert len(evaluation.unrelated) > 300


def test_an_evaluation_on_queries_of_the_bank_is_labelled_transductive():
    gallery, bank, queries = _vectors()
    ids = np.array([f"q{i}" for i in range(25)])
    galleries = {"gallery": gallery, "gallery_bank": gallery[:30]}
    both = np.concatenate([bank, queries])
    all_ids = np.concatenate([[f"b{i}" for i in range(40)], ids])
    inductive = fit("nnn", query_bank=bank, query_bank_ids=all_ids[:40], **galleries)
    transductive = fit("nnn", query_bank=both, query_bank_ids=all_ids, **galleries)
    raw = fit("none", query_bank=both, query_bank_ids=all_ids, **galleries)
    right = np.arange(25)

    def label(c, **options):
        return evaluate(c, queries, right, **options).protocol

    assert label(inductive, query_ids=ids) == "inductive"
    assert label(transductive, query_ids=ids) == "transductive"
    assert label(raw, query_ids=ids) == "inductive"  # raw scores are not fitted on the bank
    assert label(transductive) == "inductive"
    assert label(transductive, protocol="transductive") == "transductive"
    with pytest.raises(InputError, match="25 of 25 queries are in the query bank"):
        label(transductive, query_ids=ids, protocol="inductive")
    with pytest.raises(InputError, match="'inductive' or 'transductive'"):
        label(inductive, protocol="honest")
    with pytest.raises(InputError, match="can never be equal"):
        label(inductive, query_ids=np.arange(25))


def test_an_evaluation_is_printed_and_converted_to_json(capsys):
    gallery, bank, queries = _vectors()
    c = fit("nnn", gallery=gallery, query_bank=bank, gallery_bank=gallery[:30])
    right = [[], *([i] for i in range(24))]
    evaluation = isotrope.evaluate(c, queries, right, protocol="transductive")
    evaluation.show()
    output = capsys.readouterr().out
    assert "transductive: 25 queries, 60 items" in output
    assert "robin_hood" in output
    summary = json.loads(json.dumps(evaluation.summary(), allow_nan=False))
    assert summary["protocol"] == "transductive"
    assert summary["figures"]["mrr"] == evaluation.figures()["mrr"]
    assert summary["intervals"]["map"]["low"] <= summary["figures"]["map"]


@pytest.mark.parametrize("method", ["nnn", "dynamic_inverted_softmax"])
def test_an_evaluation_equals_the_ranking_of_its_correction(method):
    rng = np.random.default_rng(1)
    gallery, bank, queries = (dense.norm(rng.normal(size=(r, 8)) + 0.5) for r in (60, 40, 25))
    c = fit(method, gallery=gallery, query_bank=bank, gallery_bank=gallery[:30])
    right = [rng.permutation(60)[:2] for _ in queries]
    evaluation = evaluate(c, queries, right, k=5)
    lists, _ = c.rank(queries, 60)
    np.testing.assert_array_equal(evaluation.ranks, metrics.list_ranks(lists, Relevant.of(right)))
    np.testing.assert_array_equal(evaluation.counts, metrics.k_occurrence(lists[:, :5], 60))
    assert evaluation.figures()["r@5"] == np.mean(metrics.recall_at(evaluation.first, 5))
    with pytest.raises(InputError, match="entries for"):
        evaluate(c, queries, right[:3])


@pytest.mark.parametrize("method", ["none", "nnn", "dynamic_inverted_softmax"])
@pytest.mark.parametrize("k", [5, 60])
def test_an_excluded_row_has_the_effect_of_a_row_that_is_not_in_the_gallery(method, k):
    rng = np.random.default_rng(2)
    gallery, bank = (dense.norm(rng.normal(size=(r, 8)) + 0.5).astype(np.float32) for r in (60, 40))
    c = fit(method, gallery=gallery, query_bank=bank, gallery_bank=gallery[:30])
    query_rows = np.array([3, 59, 17, 0])
    right = [[4, 9], [0], [16, 18, 40], [1]]
    exclude = np.array([3, 59, -1, 0])
    evaluation = evaluate(c, gallery[query_rows], right, k=k, exclude=exclude)
    counts = np.zeros(60, np.int64)
    for i, query in enumerate(gallery[query_rows]):
        admitted = np.arange(60) != exclude[i]
        lists, _ = c.rank(query[None], 60, where=admitted)
        expected = [lists[0].tolist().index(g) + 1 for g in right[i]]
        ranks = evaluation.ranks[evaluation.relevant.query == i]
        np.testing.assert_array_equal(ranks, expected)
        counts[lists[0, :k]] += 1
    np.testing.assert_array_equal(evaluation.counts, counts)


def test_excluded_rows_are_validated():
    gallery = np.eye(4, dtype=np.float32)
    c = fit("none", gallery=gallery, query_bank=gallery, gallery_bank=gallery)
    for exclude, message in (
        (np.array([0]), "for each of 2 queries"),
        (np.array([0.0, 1.0]), "float64"),
        (np.array([0, 4]), "rows 0 to 3"),
        (np.array([-2, 1]), "use -1 to exclude nothing"),
        (np.array([1, -1]), "query 0 both excludes gallery row 1"),
    ):
        with pytest.raises(InputError, match=message):
            evaluate(c, gallery[:2], np.array([1, 0]), exclude=exclude)


def test_scores_that_differ_only_by_noise_are_tied() -> None:
    rng = np.random.default_rng(5)
    items = rng.normal(size=(40, 16))
    items[20:] = items[:20]  # every item twice: the earlier one must rank first
    right = np.arange(40)
    first_ranks = []
    for noise in (0.0, 1e-8, -1e-8):
        moved = items + noise * np.sign(rng.normal(size=items.shape))
        gallery = (moved / np.linalg.norm(moved, axis=1, keepdims=True)).astype(np.float32)
        raw = Correction("none", {}, gallery, np.zeros(40, np.float32))
        first_ranks.append(evaluate(raw, gallery, right).first)
    np.testing.assert_array_equal(first_ranks[0], [1] * 20 + [2] * 20)
    np.testing.assert_array_equal(first_ranks[1], first_ranks[0])
    np.testing.assert_array_equal(first_ranks[2], first_ranks[0])
