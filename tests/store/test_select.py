"""`select` chooses the candidate that gains most, a trusted default, or raw scores."""

import os
from pathlib import Path

import numpy as np
import pytest

from store.corrections import evaluate, fit, select, trial_samples
from store.corrections.crossfit import assign_folds
from store.corrections.trial_samples import group_queries
from store.errors import InputError
from store.metrics import Relevant, paired_bootstrap
from tests.helpers import dense

CLIP = Path(
    os.environ.get("ISOTROPE_CLIP_COCO")
    or Path(__file__).parents[3] / "shared" / "data" / "clip_coco500.npy"
)


def pairs_with_hubs(seed=0, pairs=300, dims=32, hub=0.6):
    """Queries and their items. Some items are moved towards the mean of the queries: hubs."""
    rng = np.random.default_rng(seed)
    centre = dense.norm(rng.normal(size=dims))
    core = dense.norm(rng.normal(size=(pairs, dims)))
    queries = dense.norm(core + 0.8 * dense.norm(rng.normal(size=(pairs, dims))) + centre)
    shift = hub * rng.exponential(size=(pairs, 1))
    gallery = dense.norm(core + 0.8 * dense.norm(rng.normal(size=(pairs, dims))) + shift * centre)
    return queries.astype(np.float32), gallery.astype(np.float32)


def select_from(queries, gallery, **options):
    """`select` with the pairs as banks; `options` override its arguments."""
    ids = np.arange(len(queries))
    arguments = {
        "gallery": gallery, "query_bank": queries, "gallery_bank": gallery, "queries": queries,
        "relevant": ids, "gallery_ids": ids, "query_bank_ids": ids, "gallery_bank_ids": ids,
        "methods": ["nnn", "inverted_softmax"],
    }  # fmt: skip
    return select(**{**arguments, **options})


def test_hubs_are_corrected_and_the_gain_is_real():
    queries, gallery = pairs_with_hubs()
    best = select_from(queries[:200], gallery[:200])
    assert best.method != "none"
    assert best.gain.mean > 0
    assert "gains" in best.reason
    assert best.correction.params == best.params
    banks = {"query_bank": queries[:200], "gallery_bank": gallery[:200]}
    test = {"gallery": gallery[200:], **banks}
    right = np.arange(100)
    raw = evaluate(fit("none", **test), queries[200:], right)
    new = evaluate(fit(best.method, **test, **best.params), queries[200:], right)
    assert paired_bootstrap(new.reciprocal_ranks, raw.reciprocal_ranks).low > 0
    assert new.figures()["k_skewness"] < raw.figures()["k_skewness"]
    assert {"method", "params", "mrr", "r@1", "k_skewness", "gain"} <= set(best.table[0])
    assert best.table[0]["method"] == "none"


def test_the_same_seed_gives_the_same_choice():
    queries, gallery = pairs_with_hubs(1, pairs=150)
    a, b = (select_from(queries, gallery, seed=5) for _ in range(2))
    assert (a.method, a.params, a.table, a.reason) == (b.method, b.params, b.table, b.reason)


def test_vectors_of_double_precision_are_taken():
    single = pairs_with_hubs(1, pairs=150)
    double = [vectors.astype(np.float64) for vectors in single]
    assert select_from(*double).method == select_from(*single).method


def test_too_few_pairs_mean_the_default_on_a_bank_of_the_corpus():
    queries, gallery = pairs_with_hubs(2, pairs=99)
    nineteen = [[i] if i < 19 else [] for i in range(99)]
    best = select_from(queries, gallery, relevant=nineteen)
    assert (best.method, best.params) == ("nnn", {"alpha": 0.5, "k": 16})
    assert best.gain is None
    assert "19 pairs are too few" in best.reason
    twenty = [[i] if i < 20 else [] for i in range(99)]
    assert select_from(queries, gallery, relevant=twenty).gain is not None


@pytest.mark.parametrize("options", [{"own_bank": False}, {"methods": ["csls"]}, "few rows"])
def test_too_few_pairs_mean_raw_where_the_default_is_not_trusted(options):
    queries, gallery = pairs_with_hubs(2, pairs=99)
    if options == "few rows":
        ids = np.arange(49)
        options = {
            "query_bank": queries[:49], "gallery_bank": gallery[:49], "query_bank_ids": ids,
            "gallery_bank_ids": ids,
        }  # fmt: skip
    one_answer = [[0], *([] for _ in range(98))]
    best = select_from(queries, gallery, relevant=one_answer, **options)
    assert best.method == "none"
    assert "1 pairs are too few" in best.reason
    np.testing.assert_array_equal(best.correction.vectors, gallery)


@pytest.mark.parametrize("kind", ["none", int, str])
def test_inferred_ids_make_no_pairs_of_unrelated_rows(kind):
    queries, gallery = pairs_with_hubs(6, pairs=60)
    names = None if kind == "none" else np.arange(60).astype(kind)
    samples = trial_samples.infer_ids(
        trial_samples.Samples(
            gallery[:40], queries[30:], gallery[30:], queries[:40], Relevant.of(np.arange(40)),
            None if names is None else names[:40], None, None,
        )
    )  # fmt: skip
    # Rows 30 to 39 are in the pairs and in the banks, the other 20 of each bank in neither.
    known = np.isin(samples.query_bank_ids, samples.gallery_ids)
    np.testing.assert_array_equal(known, np.arange(30) < 10)
    np.testing.assert_array_equal(samples.query_bank_ids[:10], samples.gallery_ids[30:])
    np.testing.assert_array_equal(samples.gallery_bank_ids[:10], samples.gallery_ids[30:])
    assert not np.isin(samples.query_bank_ids[10:], samples.gallery_bank_ids).any()


@pytest.mark.parametrize("seed", range(3))
def test_unrelated_banks_do_no_harm(seed):
    queries, gallery = pairs_with_hubs(seed, hub=0.0)
    rng = np.random.default_rng(seed)
    bank = dense.norm(rng.normal(size=(16, 32)))
    best = select_from(
        queries[:200], gallery[:200], query_bank=bank, gallery_bank=bank,
        query_bank_ids=None, gallery_bank_ids=None,
    )  # fmt: skip
    banks = {"query_bank": bank, "gallery_bank": bank}
    test = {"gallery": gallery[200:], **banks}
    raw = evaluate(fit("none", **test), queries[200:], np.arange(100))
    new = evaluate(fit(best.method, **test, **best.params), queries[200:], np.arange(100))
    assert paired_bootstrap(new.reciprocal_ranks, raw.reciprocal_ranks).high >= 0


def test_a_sample_or_cluster_is_never_in_two_folds():
    right = Relevant.of([[0], [1], [1, 2], [3], [2, 4], [5]])
    groups = group_queries(right, None)
    assert groups[1] == groups[2] == groups[4]
    assert len(set(groups.tolist())) == 4
    joined = group_queries(right, np.array(["a", "b", "c", "a", "c", "d"]))
    assert joined[0] == joined[3]
    fold = assign_folds(groups, 3, np.random.default_rng(0))
    assert all(len(set(fold[groups == g].tolist())) == 1 for g in groups)


def test_a_large_gallery_is_sampled_for_the_choice_and_fitted_in_full(monkeypatch):
    monkeypatch.setattr(trial_samples, "MOST_ITEMS", 150)
    monkeypatch.setattr(trial_samples, "MOST_QUERIES", 120)
    queries, gallery = pairs_with_hubs(4)
    best = select_from(queries, gallery, methods=["nnn"])
    assert len(best.correction.bias) == 300
    assert "120 pairs" in best.reason


def test_large_banks_are_sampled_with_their_pairs(monkeypatch):
    queries, gallery = pairs_with_hubs(4)
    names, rng = np.arange(300) // 2, np.random.default_rng(0)

    def sampled(bank_ids, gallery_ids):
        banks = trial_samples.Samples(
            gallery, queries, gallery[: len(gallery_ids)], queries, Relevant.of(np.arange(300)),
            names, bank_ids, gallery_ids,
        )  # fmt: skip
        return trial_samples.sample_banks(rng, banks)

    whole = sampled(names, names)
    assert len(whole.query_bank) == len(whole.gallery_bank) == 300
    monkeypatch.setattr(trial_samples, "MOST_BANK_ROWS", 100)
    both = sampled(names, names)
    assert len(both.query_bank) == len(both.gallery_bank) == 100
    np.testing.assert_array_equal(both.query_bank_ids, both.gallery_bank_ids)
    assert (np.unique(both.query_bank_ids, return_counts=True)[1] == 2).all()
    kept = np.flatnonzero(np.isin(names, both.query_bank_ids))
    np.testing.assert_array_equal(both.query_bank, queries[kept])
    np.testing.assert_array_equal(both.gallery_bank, gallery[kept])
    apart = sampled(names, 1000 + np.arange(60))
    assert (len(apart.query_bank), len(apart.gallery_bank)) == (100, 60)
    assert len(sampled(None, names).query_bank) == 100
    assert len(sampled(None, names.astype(str)).query_bank) == 100
    assert len(sampled(np.zeros(300, int), names).query_bank) == 300  # one cluster
    choice = select_from(queries, gallery, methods=["nnn", "canonical"], seed=1)
    assert choice.gain.mean > 0


def test_wrong_input_is_reported():
    queries, gallery = pairs_with_hubs(5, pairs=120)
    with pytest.raises(InputError, match="entries for"):
        select_from(queries, gallery, relevant=[[0]])
    with pytest.raises(InputError, match="rows"):
        select_from(queries, gallery, relevant=np.arange(1, 121))
    with pytest.raises(InputError, match="no correction called"):
        select_from(queries, gallery, methods=["magic"])


@pytest.mark.skipif(not CLIP.exists(), reason="needs the CLIP features of 500 COCO pairs")
@pytest.mark.parametrize("direction", ["text to image", "image to text"])
def test_real_features_gain_and_do_not_lose(direction):
    images, captions = np.load(CLIP)
    queries, gallery = (captions, images) if direction == "text to image" else (images, captions)
    order = np.random.default_rng(0).permutation(500)
    bank, test = order[:250], order[250:]
    best = select_from(queries[bank], gallery[bank], methods=None)
    banks = {"query_bank": queries[bank], "gallery_bank": gallery[bank]}
    new = fit(best.method, gallery=gallery[test], **banks, **best.params)
    raw = fit("none", gallery=gallery[test], **banks)
    a, b = (evaluate(c, queries[test], np.arange(250)) for c in (new, raw))
    assert paired_bootstrap(a.reciprocal_ranks, b.reciprocal_ranks).high >= 0
    if direction == "text to image":
        assert a.figures()["r@1"] > b.figures()["r@1"]
