"""The choice of a correction in spaces in which it helps, does nothing or harms by construction."""

import numpy as np
import pytest

from store.corrections import evaluate, fit_many, select
from store.corrections.select import choose_method
from tests.helpers.planted_spaces import KINDS, draw, families

SEEDS, ROWS = 12, 150
CANDIDATES = [("nnn", {"alpha": 0.75, "k": 16}), ("sinkhorn", {}), ("centered+sinkhorn", {})]


def banks_of(pairs, rows=ROWS):
    """The first pairs as banks, with ids that count from 0."""
    ids = np.arange(rows)
    return {
        "query_bank": pairs.captions[:rows], "gallery_bank": pairs.items[:rows],
        "query_bank_ids": ids, "gallery_bank_ids": ids,
    }  # fmt: skip


def gains(specs, banks, gallery, gallery_ids, queries, right):
    """Gain in mean reciprocal rank over raw of each method, measured directly."""
    fitted = fit_many(["none", *specs], gallery=gallery, gallery_ids=gallery_ids, **banks)
    raw, *others = (evaluate(c, queries, right).reciprocal_ranks for c in fitted)
    return np.array([(ranks - raw).mean() for ranks in others])


def true_gains(specs, banks, kind, rng, times=8, rows=ROWS):
    """The same on new items: the mean over many galleries of `rows` items."""
    new = [draw(kind, rng, rows) for _ in range(times)]
    ids = -1 - np.arange(rows)
    right = np.arange(rows)
    return np.mean([gains(specs, banks, p.items, ids, p.queries, right) for p in new], axis=0)


def is_zero(differences, errors=3.0):
    """(c,) whether means over the seeds (s, c) are zero within their standard errors."""
    deviation = differences.std(axis=0, ddof=1) / np.sqrt(len(differences))
    return abs(differences.mean(axis=0)) <= errors * deviation


@pytest.mark.parametrize("kind", KINDS)
def test_a_trial_on_pairs_apart_from_the_bank_estimates_the_true_gain(kind):
    promised, true, covered = [], [], []
    for seed in range(SEEDS):
        rng = np.random.default_rng(seed)
        bank, pairs = draw(kind, rng, ROWS), draw(kind, rng, ROWS)
        banks = banks_of(bank)
        choice = choose_method(
            gallery=np.concatenate([bank.items, pairs.items]),
            gallery_ids=np.arange(2 * ROWS),
            queries=pairs.queries,
            relevant=ROWS + np.arange(ROWS),
            methods=CANDIDATES,
            **banks,
        )
        trial = [row["gain"] for row in choice.table[1 : len(CANDIDATES) + 1]]
        promised.append([gain.mean for gain in trial])
        true.append(true_gains(CANDIDATES, banks, kind, rng))
        covered += [g.low <= t <= g.high for g, t in zip(trial, true[-1], strict=True)]
    promised, true = np.array(promised), np.array(true)
    assert is_zero(promised - true).all()
    assert np.mean(covered) >= 0.8  # nominally 0.95, of three candidates that go together
    sign = {"helps": true > 0.1, "nothing": abs(true) < 0.04, "harms": true < -0.1}
    assert sign[kind].all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_trial_on_the_pairs_of_the_bank_estimates_the_true_gain_of_half_of_it(kind):
    promised, true = [], []
    for seed in range(SEEDS):
        rng = np.random.default_rng(seed)
        both = draw(kind, rng, 2 * ROWS)
        choice = choose_method(
            gallery=both.items,
            gallery_ids=np.arange(2 * ROWS),
            queries=both.queries,
            relevant=np.arange(2 * ROWS),
            methods=CANDIDATES,
            **banks_of(both, 2 * ROWS),
        )
        trial = [row["gain"] for row in choice.table[1 : len(CANDIDATES) + 1]]
        promised.append([gain.mean for gain in trial])
        true.append(true_gains(CANDIDATES, banks_of(draw(kind, rng, ROWS)), kind, rng))
    assert is_zero(np.array(promised) - np.array(true)).all()


@pytest.mark.parametrize("kind", ["helps", "nothing"])
def test_ranking_items_of_the_bank_as_well_underestimates_the_gain(kind):
    """Why a trial leaves them out: an item of the bank is not lowered by its own caption, and the
    captions of the bank lower new items that are like it. Both galleries have the same size."""
    with_bank, true = [], []
    for seed in range(SEEDS):
        rng = np.random.default_rng(seed)
        contents = families(rng, ROWS, members=3)
        bank, pairs, others = (draw(kind, rng, ROWS, 0.3, content) for content in contents)
        banks, right = banks_of(bank), ROWS + np.arange(ROWS)
        ids = np.arange(2 * ROWS)
        ranked = np.concatenate([bank.items, pairs.items])
        with_bank.append(gains(CANDIDATES, banks, ranked, ids, pairs.queries, right))
        ranked = np.concatenate([others.items, pairs.items])
        true.append(gains(CANDIDATES, banks, ranked, -1 - ids, pairs.queries, right))
    tilt = np.array(with_bank) - np.array(true)
    assert (tilt.mean(axis=0) < -0.03).all()
    assert not is_zero(tilt).any()


@pytest.mark.parametrize("kind", ["helps", "nothing"])
def test_masks_make_items_in_and_out_of_the_bank_alike(kind):
    """The bias of an item that is in the bank with its caption is that of a new item; without
    masks it is much higher, and the item is found much later."""
    specs = [*CANDIDATES[:2], ("nnn", {"alpha": 1.0, "k": 4}), ("inverted_softmax", {})]
    rows, ids = 2 * ROWS, np.arange(4 * ROWS)
    differences = {}
    for is_masked in (True, False):
        biases, ranks = [], []
        for seed in range(SEEDS):
            pairs = draw(kind, np.random.default_rng(seed), 2 * rows)
            masks = {"gallery_ids": ids} if is_masked else {}
            fitted = fit_many(
                ["none", *specs], gallery=pairs.items, **banks_of(pairs, rows), **masks
            )
            raw, *others = (evaluate(c, pairs.queries, ids).reciprocal_ranks for c in fitted)
            biases.append([c.bias[:rows].mean() - c.bias[rows:].mean() for c in fitted[1:]])
            ranks.append([(x - raw)[:rows].mean() - (x - raw)[rows:].mean() for x in others])
        differences[is_masked] = np.array(biases), np.array(ranks)
    (bias, gain), (open_bias, open_gain) = differences[True], differences[False]
    assert (abs(bias.mean(axis=0)) < 0.01).all()
    assert (abs(gain.mean(axis=0)) < 0.02).all()
    if kind == "nothing":
        assert (abs(bias.mean(axis=0)) < 0.1 * open_bias.mean(axis=0)).all()
        assert not is_zero(open_gain).any()
    assert (open_gain.mean(axis=0)[1:] < -0.04).all()
    assert (open_bias.mean(axis=0) > 0).all()


def test_ids_are_inferred_from_rows_that_banks_and_pairs_share():
    honest, leaking = [], []
    specs = [("nnn", {"alpha": 1.0, "k": 1})]
    for seed in range(SEEDS):
        rng = np.random.default_rng(seed)
        pairs = draw("nothing", rng, 2 * ROWS)
        arrays = {
            "gallery": pairs.items, "query_bank": pairs.queries, "gallery_bank": pairs.items,
            "queries": pairs.queries, "relevant": np.arange(2 * ROWS), "methods": specs,
        }  # fmt: skip
        new = draw("nothing", rng, ROWS)
        banks = {**banks_of(new), "query_bank": new.queries}
        true = true_gains(specs, banks, "nothing", rng)
        apart = {"gallery_ids": np.arange(2 * ROWS), "query_bank_ids": -1 - np.arange(2 * ROWS)}
        half = {"gallery_ids": [f"item {i}" for i in range(2 * ROWS)]}
        double = {"query_bank": pairs.queries.astype(np.float64)}
        plain = select(**arrays).table
        assert select(**{**arrays, **half, **double}).table == plain
        honest.append(plain[1]["gain"].mean - true)
        leaking.append(select(**arrays, **apart).table[1]["gain"].mean - true)
    assert is_zero(np.array(honest)).all()
    assert not is_zero(np.array(leaking)).any()


@pytest.mark.parametrize("rows", [8, 16, ROWS])
@pytest.mark.parametrize("kind", ["nothing", "harms"])
def test_foreign_and_tiny_banks_do_no_harm(kind, rows):
    true = []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        pairs = draw(kind, rng, ROWS)
        banks = banks_of(draw(kind, rng, rows), rows)
        banks["query_bank_ids"] = banks["gallery_bank_ids"] = 10**6 + np.arange(rows)
        choice = choose_method(
            gallery=pairs.items, gallery_ids=np.arange(ROWS), queries=pairs.queries,
            relevant=np.arange(ROWS), own_bank=False, **banks,
        )  # fmt: skip
        true.append(true_gains([(choice.method, choice.params)], banks, kind, rng, times=4))
    assert np.mean(true) > -0.003


def test_a_choice_is_taken_to_another_gallery():
    rng = np.random.default_rng(0)
    pairs, new = draw("helps", rng, ROWS), draw("helps", rng, ROWS)
    best = select(
        gallery=pairs.items, gallery_ids=np.arange(ROWS), queries=pairs.queries,
        relevant=np.arange(ROWS), methods=["sinkhorn", "nnn"], **banks_of(pairs),
    )  # fmt: skip
    there = best.fit(gallery=new.items, **banks_of(pairs))
    assert (there.method, there.params) == (best.method, best.params) != ("none", {})
    assert there.vectors.shape == new.items.shape
    index, _ = there.rank(new.queries, 10)
    assert index.shape == (ROWS, 10)
    here = best.fit(gallery=pairs.items, gallery_ids=np.arange(ROWS), **banks_of(pairs))
    np.testing.assert_array_equal(here.bias, best.correction.bias)
