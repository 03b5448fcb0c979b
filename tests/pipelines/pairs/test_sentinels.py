"""Planted hubs are quarantined at ingest, and natural ones are not."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets.table_checks import pairs_sound
from pipelines.decisions.stage import decide
from pipelines.pairs.sentinels import K, Sentinels, nearest_floors
from pipelines.pairs.stage import measure_pairs
from pipelines.stages import staleness
from pipelines.stages.context import StageContext
from store import identity
from store.config.corpus_yaml import parse
from store.config.policy import Policy
from store.errors import ConfigError
from store.tables import schema
from store.tables.schema import MODALITIES
from store.workspace import Workspace
from tests.helpers.dense import norm
from tests.helpers.paired_corpus import (
    add_empty_signals,
    configured,
    deliver,
    pair_rows,
    parts,
    samples,
    unit,
)
from tests.helpers.planted_hubs import planted_space


@given(st.integers(1, 40), st.integers(1, 30), st.integers(0, 99))
def test_the_share_is_that_of_loops(items: int, queries: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    known, asked, rows = unit(rng, items), unit(rng, queries), unit(rng, 12)
    rows = np.concatenate([rows, known[:3]])
    hubness = Sentinels(asked, nearest_floors(asked, known)).hubness(rows)
    for row, share in zip(rows, hubness, strict=True):
        hits = 0
        for query in asked:
            floor = sorted((float(query @ item) for item in known), reverse=True)[:K][-1]
            hits += float(query @ row) >= floor - 1e-6
        assert share == pytest.approx(hits / queries, abs=1.01 / queries)


def test_more_items_than_a_tile_are_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    asked, known = unit(rng, 20), unit(rng, 100)
    whole = nearest_floors(asked, known)
    monkeypatch.setattr("pipelines.pairs.sentinels._TILE", 13)
    np.testing.assert_allclose(nearest_floors(asked, known), whole, atol=1e-6)


def test_a_modality_is_asked_by_the_first_other_that_has_parts(tmp_path: Path) -> None:
    rows = [
        {"audio_id" if name == "text_id" else name: value for name, value in row.items()}
        for row in samples(80, drops=["a"])
        if "audio_id" not in row
    ]
    vectors = dict(zip(sorted(parts(rows)), unit(np.random.default_rng(0), 999), strict=False))
    corpus = configured(deliver(tmp_path / "corpus", rows, vectors), sentinels=3)
    measure_pairs(StageContext(corpus))
    measured = pair_rows(corpus)
    filled = {m for m in MODALITIES if measured[f"{m}_hubness"].null_count < measured.num_rows}
    assert filled == {"image", "audio"}
    ids = {m: sorted({row[f"{m}_id"] for row in rows if f"{m}_id" in row}) for m in filled}
    images, asking = (np.stack([vectors[i] for i in ids[m]]) for m in ("image", "audio"))
    queries = Sentinels(asking[:3], nearest_floors(asking[:3], images))
    expected = dict(zip(ids["image"], queries.hubness(images), strict=True))
    image_of = {row["id"]: row.get("image_id") for row in rows}
    for row in measured.to_pylist():
        assert row["image_hubness"] == expected.get(image_of[row["id"]])


@pytest.mark.parametrize("budget", [0.002, 0.004])
@pytest.mark.parametrize("seed", range(3))
def test_recall_and_false_alarms_at_budgets(budget: float, seed: int) -> None:
    items, queries, planted = planted_space(seed, planted=10)
    hubness = Sentinels(queries[:300], nearest_floors(queries[:300], items)).hubness(items)
    is_planted = np.isin(np.arange(len(items)), planted)
    most = math.ceil(budget * len(items))
    alarms = np.argsort(-hubness, kind="stable")[:most]
    alarms = alarms[hubness[alarms] > 0.05]
    assert is_planted[alarms].sum() >= 0.9 * len(planted)
    assert (~is_planted[alarms]).sum() <= 1
    items, queries, _ = planted_space(seed, planted=0)
    floors = nearest_floors(queries[:300], items)
    assert (Sentinels(queries[:300], floors).hubness(items) <= 0.05).all()


def hub_corpus(root: Path) -> tuple[Workspace, set[str]]:
    """300 pairs; texts have a direction that images lack, and three images are that direction."""
    rng = np.random.default_rng(2)
    topics = unit(rng, 300, topics=30)
    of_texts = np.eye(topics.shape[1])[0]
    texts = norm(topics + of_texts).astype(np.float32)
    images = topics + 0.1 * rng.normal(size=topics.shape)
    planted = [7, 100, 250]
    images[planted] = of_texts + 0.2 * (images[planted] + topics.mean(axis=0))
    images = norm(images).astype(np.float32)
    rows, vectors = [], {}
    for number in range(300):
        image = identity.part_id("image", str(number).encode())
        text = identity.part_id("text", str(number).encode())
        sample = identity.sample_id(image, None, text)
        parts = {"image_id": image, "text_id": text}
        rows.append({"drop": "a", "id": sample, "source": "s", "key": f"k{number}", **parts})
        vectors |= {image: images[number], text: texts[number]}
    return deliver(root, rows, vectors), {rows[n]["id"] for n in planted}


def test_the_stage_measures_it_if_corpus_yaml_says_so(tmp_path: Path) -> None:
    corpus, planted = hub_corpus(tmp_path / "corpus")
    measure_pairs(StageContext(corpus))
    assert pair_rows(corpus)["image_hubness"].null_count == 300
    measuring = configured(corpus, sentinels=200)
    assert "pairs" in staleness.stale(measuring, None)
    measure_pairs(StageContext(measuring))
    assert "pairs" not in staleness.stale(measuring, None)
    rows = pair_rows(corpus).to_pylist()
    hubs = {row["id"] for row in rows if row["image_hubness"] > 0.3}
    assert hubs == planted
    assert {row["audio_hubness"] for row in rows} == {None}
    assert pairs_sound(corpus, "*")[1] == []
    policy = Policy.model_validate({"image_hubness": {"max": 0.3}})
    guarded = replace(corpus, config=measuring.config.model_copy(update={"policy": policy}))
    add_empty_signals(guarded)
    decide(StageContext(guarded))
    decisions = guarded.tables.scan("decisions", schema.DECISIONS).to_pylist()
    rejected = [row for row in decisions if not row["keep"]]
    assert {row["id"] for row in rejected} == planted
    assert {row["rule"] for row in rejected} == {"image_hubness.max"}


def test_a_policy_that_names_it_needs_the_setting() -> None:
    text = "sources: {a: {path: .}}\npolicy: {image_hubness: {max: 0.05}}\n"
    with pytest.raises(ConfigError, match="sentinels: 500"):
        parse(text)
    config = parse(text + "pairs: {sentinels: 500}\n")
    assert config.policy.rules["image_hubness"].max == 0.05
    with pytest.raises(ConfigError, match="sentinels"):
        parse("sources: {a: {path: .}}\npairs: {sentinels: -1}\n")
