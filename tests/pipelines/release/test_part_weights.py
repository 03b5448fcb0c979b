"""Weights of a sample's parts are fitted as the loss says, and learned where pairs prove them."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import isotrope
from pipelines.release.fit_part_weights import MOST_OFFSET, fit_part_weights, held_out_ranks
from pipelines.release.part_weights import is_fitted_on
from pipelines.release.systems import compare_systems
from store.tables.releases import list_releases
from tests.helpers.planted_release import Parts, publish, unit_rows

SAMPLES, BANK, DIM = 400, 150, 48


def random_scores(seed: int, queries: int = 15) -> np.ndarray:
    """Scores (queries, 8, 3) with missing parts and candidates; the right one is better."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(queries, 8, 3))
    scores[:, 0] += rng.random(3)
    scores[rng.random(scores.shape) < 0.3] = np.nan
    scores[:, 0, 0] = rng.normal(0.5, 1, queries)
    scores[rng.random((queries, 8)) < 0.2] = np.nan
    scores[:, 0, 0] = np.nan_to_num(scores[:, 0, 0])
    return scores


def dense_loss(scores: np.ndarray, best: float, weights: np.ndarray, offsets: np.ndarray) -> float:
    """The mean -log softmax of the right candidates, one candidate at a time."""
    losses = []
    for query in scores:
        totals = []
        for candidate in query:
            own = ~np.isnan(candidate)
            if own.any():
                added = weights[own] * (candidate[own] - offsets[own])
                totals.append(best * candidate[own].max() + added.sum())
        losses.append(np.log(np.exp(totals).sum()) - totals[0])
    return float(np.mean(losses))


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10_000))
def test_no_other_weights_have_a_smaller_loss(seed: int) -> None:
    scores, rng = random_scores(seed), np.random.default_rng(seed)
    fitted = fit_part_weights(scores)
    assert fitted.best >= 0
    assert (fitted.weights >= 0).all()
    assert ((fitted.offsets >= 0) & (fitted.offsets <= MOST_OFFSET)).all()
    assert fitted.best + fitted.weights.sum() == pytest.approx(1)
    # The fit also has a scale, which changes no order: the best one along it is taken here.
    scales = np.geomspace(0.01, 30, 60)
    own = min(
        dense_loss(scores, s * fitted.best, s * fitted.weights, fitted.offsets) for s in scales
    )
    for _ in range(25):
        other = rng.dirichlet(np.ones(4)) * rng.choice(scales)
        offsets = MOST_OFFSET * rng.random(3)
        assert own <= dense_loss(scores, other[0], other[1:], offsets) + 0.01  # the ridge


def test_held_out_ranks_of_the_best_part_are_its_ranks() -> None:
    scores = random_scores(3)
    best, _ = held_out_ranks(scores, np.arange(len(scores)) % 5)
    for query, value in zip(scores, best, strict=True):
        highest = np.array([row[~np.isnan(row)].max() for row in query if not np.isnan(row).all()])
        assert value == pytest.approx(1 / (1 + (highest[1:] > highest[0]).sum()))


def planted(root: Path, answer: str, pairs: slice = slice(0, 200)) -> "isotrope.Corpus":
    """Samples of an image and a recording: a text is about both, or one of them at random."""
    rng, total = np.random.default_rng(1), SAMPLES + BANK
    shared, own = rng.normal(size=(total, DIM)), rng.normal(size=(2, total, DIM))
    is_first = rng.random((total, 1)) < 0.5
    triple = {
        "both": (shared, shared, shared),
        "image": (own[0], own[1], own[0]),
        "one": (*own, np.where(is_first, own[0], own[1])),
    }[answer]
    noisy = [unit_rows(rows + 1.2 * rng.normal(size=rows.shape)) for rows in triple]
    vectors = dict(zip(("image", "audio", "text"), noisy, strict=True))
    parts = {m: Parts(np.arange(SAMPLES), vectors[m][:SAMPLES]) for m in ("image", "audio")}
    splits = {"validation": pairs, "test": slice(200, 400)}
    held_out = {
        name: {m: Parts(np.arange(SAMPLES)[own], v[:SAMPLES][own]) for m, v in vectors.items()}
        for name, own in splits.items()
    }
    banks = {m: v[SAMPLES:] for m, v in vectors.items()}
    return publish(root, parts, banks, held_out=held_out)


def test_weights_are_learned_where_they_help(tmp_path: Path) -> None:
    both = planted(tmp_path / "both", "both").release.part_weights["text"]
    assert min(both.weights.values()) > 0.2
    assert both.reason.startswith("learned: +")
    image = planted(tmp_path / "image", "image").release.part_weights["text"]
    assert image.weights["audio"] < 0.1
    assert image.best + image.weights["image"] > 0.9
    one = planted(tmp_path / "one", "one").release.part_weights["text"]
    assert one.best == 1
    assert set(one.weights.values()) == {0.0}
    assert "not certainly better" in one.reason
    clusters = [f"{n:032x}" for n in range(200)]
    assert both.pairs == sum(map(is_fitted_on, clusters))


def test_too_few_pairs_give_no_weights(tmp_path: Path) -> None:
    corpus = planted(tmp_path, "both", slice(0, 20))
    assert corpus.release.part_weights == {}
    with pytest.raises(isotrope.errors.InputError, match=r"too few validation pairs.*none"):
        corpus.search(vectors={"text": np.ones(DIM)}).among("sample").aggregate("learned").run()


def test_stored_weights_are_read_back(tmp_path: Path) -> None:
    corpus = planted(tmp_path, "both")
    (release,) = list_releases(corpus.tables)
    assert release.part_weights == corpus.release.part_weights
    assert set(release.part_weights) == {"image", "text", "audio"}


def test_aggregations_are_compared_on_pairs_that_weights_have_not_seen(tmp_path: Path) -> None:
    figures = compare_systems(planted(tmp_path, "both"), samples=8)
    for direction in ("image->sample", "audio->sample"):
        systems = figures[direction]["systems"]
        assert set(systems) == {"raw", "softmax", "learned"}
        for system in systems.values():
            gain = system["mrr"] - figures[direction]["corrected"]["mean"]
            assert system["test"]["mean"] == pytest.approx(gain, abs=1e-9)
    assert "text->sample" not in figures
