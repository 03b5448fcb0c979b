"""The probability of a mismatch: the mixture alone, and as a signal of pairs of a corpus."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from assets.table_checks import pairs_sound
from pipelines.pairs.mismatch import LEAST_PAIRS, fit_mixture
from pipelines.pairs.stage import measure_pairs
from pipelines.policy.whatif import changed_policy
from pipelines.stages import staleness
from pipelines.stages.context import StageContext
from store import identity
from store.config.corpus_yaml import parse
from store.errors import ConfigError
from store.workspace import Workspace
from tests.helpers.paired_corpus import configured, deliver, pair_rows, unit

VALUES = st.lists(st.floats(-2, 2) | st.just(float("nan")), max_size=200)


@pytest.mark.parametrize("share", [0.05, 0.2, 0.4])
def test_planted_mismatches_are_found_and_probabilities_are_calibrated(share: float) -> None:
    rng = np.random.default_rng(0)
    is_wrong = rng.random(20_000) < share
    values = np.where(is_wrong, rng.normal(-0.3, 0.1, 20_000), rng.normal(0, 0.07, 20_000))
    mixture = fit_mixture(values[:1000], rng.normal(-0.3, 0.1, 4000))
    assert mixture is not None
    assert mixture.share == pytest.approx(share, abs=0.04)
    probability = mixture.probability(values)
    exact = norm.pdf(values, -0.3, 0.1) * share
    exact = exact / (exact + norm.pdf(values, 0, 0.07) * (1 - share))
    assert np.abs(probability - exact).mean() < 0.025
    found = probability > 0.5
    assert is_wrong[found].mean() > 0.9
    assert (found == (exact > 0.5)).mean() > 0.98
    assert probability.mean() == pytest.approx(is_wrong.mean(), abs=0.04)


@pytest.mark.parametrize("seed", range(10))
def test_no_mismatches_are_seen_where_there_are_none(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mixture = fit_mixture(rng.normal(0, 0.05, 500), rng.normal(-0.3, 0.1, 2000))
    assert mixture is not None
    assert mixture.share < 0.01


@given(VALUES, VALUES, VALUES)
def test_any_values_give_probabilities_that_fall(pairs: list, random: list, rows: list) -> None:
    mixture = fit_mixture(np.array(pairs, float), np.array(random, float))
    least = min(np.isfinite(x).sum() if x else 0 for x in (pairs, random))
    assert (mixture is None) == (least < LEAST_PAIRS)
    if mixture is None:
        return
    values = np.array(rows, float)
    probability = mixture.probability(values)
    assert np.isnan(probability).tolist() == np.isnan(values).tolist()
    ordered = probability[np.argsort(values)][: np.isfinite(values).sum()]
    assert ((ordered >= 0) & (ordered <= 1)).all()
    assert (np.diff(ordered) <= 1e-6).all()


@pytest.mark.parametrize("constant", [0.0, 0.3])
def test_constant_values(constant: float) -> None:
    """Equal vectors everywhere: there is nothing to tell pairs apart by."""
    mixture = fit_mixture(np.full(99, constant), np.zeros(99))
    assert mixture is not None
    assert np.isfinite(mixture.probability(np.array([-1, 0, constant, 1.0]))).all()


def planted_rows(
    share: float = 0.2, pairs: int = 400, noise: float = 0.1, captions: bool = False
) -> tuple[list[dict], dict[str, np.ndarray], set[str]]:
    """Samples of which some have the text of another one, their vectors, and the ids of those.

    With `captions`, samples have the text that belongs to `text_id`: "caption of k{number}".
    """
    rng = np.random.default_rng(0)
    images = unit(rng, pairs, topics=pairs)
    texts = images + noise * rng.normal(size=images.shape).astype(np.float32)
    texts /= np.linalg.norm(texts, axis=1, keepdims=True)
    wrong = rng.choice(pairs, round(share * pairs), replace=False)
    text_of = np.arange(pairs)
    text_of[wrong] = np.roll(wrong, 1)
    rows, vectors = [], {}
    for number in range(pairs):
        image, text = (identity.part_id(m, f"{number}".encode()) for m in ("image", "text"))
        vectors |= {image: images[number], text: texts[number]}
    for number, other in enumerate(text_of.tolist()):
        image = identity.part_id("image", f"{number}".encode())
        text = identity.part_id("text", f"{other}".encode())
        parts = {"image_id": image, "text_id": text}
        sample = identity.sample_id(image, None, text)
        if captions:
            parts["text"] = f"caption of k{other}"
        rows.append({"drop": "a", "id": sample, "source": "s", "key": f"k{number}", **parts})
    return rows, vectors, {rows[n]["id"] for n in wrong.tolist()}


def planted(root: Path, **options: Any) -> tuple[Workspace, set[str]]:
    """A corpus of such samples, and the ids of those with the text of another one."""
    rows, vectors, wrong = planted_rows(**options)
    return deliver(root, rows, vectors), wrong


def test_the_stage_measures_it_if_corpus_yaml_says_so(tmp_path: Path) -> None:
    corpus, wrong = planted(tmp_path / "corpus")
    measure_pairs(StageContext(corpus))
    assert pair_rows(corpus)["text_image_mismatch"].null_count == 400
    measuring = configured(corpus, mismatch=True)
    assert "pairs" in staleness.stale(measuring, None)
    measure_pairs(StageContext(measuring))
    assert "pairs" not in staleness.stale(measuring, None)
    rows = pair_rows(corpus).to_pylist()
    found = {row["id"] for row in rows if row["text_image_mismatch"] > 0.5}
    assert len(found & wrong) / len(found) > 0.95
    assert len(found & wrong) / len(wrong) > 0.9
    assert {row["text_audio_mismatch"] for row in rows} == {None}
    assert pairs_sound(corpus, "*")[1] == []


def test_a_corpus_that_is_too_small_gets_no_probabilities(tmp_path: Path) -> None:
    corpus, _ = planted(tmp_path / "corpus", pairs=30)
    measure_pairs(StageContext(configured(corpus, mismatch=True)))
    assert pair_rows(corpus)["text_image_mismatch"].null_count == 30


def test_a_policy_that_names_it_needs_the_setting() -> None:
    text = "sources: {a: {path: .}}\npolicy: {text_image_mismatch: {max: 0.5}}\n"
    with pytest.raises(ConfigError, match="mismatch: true"):
        parse(text)
    config = parse(text + "pairs: {mismatch: true}\n")
    assert config.policy.rules["text_image_mismatch"].max == 0.5
    changed = changed_policy(config, ("text_image_mismatch.max=0.9",))
    assert changed.rules["text_image_mismatch"].max == 0.9
    with pytest.raises(ConfigError, match="mismatch: true"):
        changed_policy(parse("sources: {a: {path: .}}\n"), ("text_image_mismatch.max=0.9",))
