"""Repaired captions: the matcher alone, and from pairs to decisions, whatif, why and exports."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.decisions.kept_samples import kept_samples
from pipelines.decisions.stage import decide
from pipelines.export.stage import Options, export
from pipelines.pairs.repair import CaptionMatcher
from pipelines.pairs.stage import measure_pairs
from pipelines.policy.whatif import compare_policies
from pipelines.reports.curation.data import read_page_data
from pipelines.reports.curation.report import write_curation
from pipelines.stages.context import StageContext
from store.config.corpus_yaml import parse
from store.config.policy import Policy
from store.config.signals import Pairs
from store.errors import ConfigError
from store.lineage import trace_record
from store.tables import schema
from store.workspace import Workspace
from tests.helpers.paired_corpus import add_empty_signals, pair_rows, unit
from tests.pipelines.pairs.test_mismatch import planted

REPAIR = Policy.model_validate({"text_repair": {"min": 0.8}})


def matching(pairs: int, noise: float = 0.1, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    images = unit(rng, pairs, topics=pairs)
    texts = images + noise * rng.normal(size=images.shape).astype(np.float32)
    return images, texts / np.linalg.norm(texts, axis=1, keepdims=True)


@given(st.integers(0, 2**32 - 1), st.integers(1, 25), st.integers(2, 25))
def test_best_is_that_of_loops(seed: int, images: int, texts: int) -> None:
    rng = np.random.default_rng(seed)
    x, y, bank_x, bank_y = (unit(rng, n) for n in (images, texts, 12, 12))
    own = rng.integers(-1, texts, images)
    best, margin = CaptionMatcher(bank_x, bank_y).best(x, y, own)
    near_text = np.sort(y @ bank_x.T, axis=1)[:, -10:].mean(axis=1)
    near_image = np.sort(x @ bank_y.T, axis=1)[:, -10:].mean(axis=1)
    for i in range(images):
        allowed = [j for j in range(texts) if j != own[i]]
        by_text = sorted(((x[i] @ y[j] - near_text[j], j) for j in allowed), reverse=True)
        assert by_text[0][0] == pytest.approx(x[i] @ y[best[i]] - near_text[best[i]], abs=1e-5)
        j = best[i]
        others = [x[k] @ y[j] - near_image[k] for k in range(images) if k != i and own[k] != j]
        lead = x[i] @ y[j] - near_image[i] - max(others) if others else 0
        lead_text = by_text[0][0] - by_text[1][0] if len(by_text) > 1 else 0
        assert margin[i] == pytest.approx(min(lead, lead_text), abs=1e-5)


def test_the_stated_precision_is_reached_where_half_of_the_captions_do_not_exist() -> None:
    images, texts = matching(1500, noise=0.2)
    matcher = CaptionMatcher(images[:500], texts[:500])
    calibration = matcher.calibrate(images[:500], texts[:500])
    assert calibration is not None
    assert (np.diff(calibration.precision) >= 0).all()
    # The first 300 look for their captions, of which 150 exist, among 300.
    x = images[500:800]
    candidates = np.concatenate([texts[500:650], texts[1000:1150]])
    best, margin = matcher.best(x, candidates, np.full(300, -1))
    precision = calibration(margin)
    right = best == np.arange(300)
    assert (precision[margin <= 0] == 0).all()
    for stated in (0.5, 0.7, 0.9):
        proposed = precision >= stated
        assert proposed.any()
        error = np.sqrt(stated * (1 - stated) / proposed.sum())
        assert right[proposed].mean() >= stated - 2 * error
    assert CaptionMatcher(images, texts).calibrate(images[:100], texts[:100]) is None


@pytest.fixture(scope="module")
def repaired(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, set[str]]:
    """A corpus with swapped captions after `pairs` and `decisions`, and the ids of those."""
    corpus, wrong = planted(tmp_path_factory.mktemp("repair") / "corpus", noise=0.2, captions=True)
    config = corpus.config.model_copy(
        update={"pairs": Pairs(mismatch=True, repair=True), "policy": REPAIR}
    )
    corpus = replace(corpus, config=config)
    measure_pairs(StageContext(corpus))
    add_empty_signals(corpus)
    decide(StageContext(corpus))
    return corpus, wrong


def test_swapped_captions_are_proposed_again(repaired: tuple[Workspace, set[str]]) -> None:
    corpus, wrong = repaired
    for row in pair_rows(corpus).to_pylist():
        if row["text_image_mismatch"] <= 0.5:
            assert row["text_repair"] is None
            assert row["repair_text_id"] is None
        elif not row["text_repair"]:
            assert row["repair_text"] is None
    proposed = [r for r in pair_rows(corpus).to_pylist() if (r["text_repair"] or 0) > 0.8]
    texts = {r["id"]: r for r in corpus.tables.open("samples").to_table().to_pylist()}
    right = [r["repair_text"] == f"caption of {texts[r['id']]['key']}" for r in proposed]
    assert len(proposed) > 0.3 * len(wrong)
    assert np.mean(right) > 0.95
    for row in proposed:
        donor = texts[row["repair_from"]]
        assert (row["repair_text_id"], row["repair_text"]) == (donor["text_id"], donor["text"])


def test_decisions_keep_or_reject_and_whatif_agrees(repaired: tuple[Workspace, set[str]]) -> None:
    corpus, wrong = repaired
    decisions = corpus.tables.scan("decisions", schema.DECISIONS).to_pylist()
    given = [r for r in decisions if r["repair_text_id"] is not None]
    rejected = [r for r in decisions if not r["keep"]]
    assert all(r["keep"] for r in given)
    assert {r["rule"] for r in rejected} <= {"text_repair.min"}
    assert 0 < len(rejected) < len(wrong)
    comparison = compare_policies(corpus, ("text_repair.min=2",))
    assert comparison.repaired == (len(given), 0)
    assert comparison.kept[0] - comparison.kept[1] == len(given)
    with kept_samples(corpus, corpus.root / "scratch") as samples:
        kept = {r["id"]: r for r in samples.scratch.select("FROM kept", "kept").to_pylist()}
    originals = {r["id"]: r for r in corpus.tables.open("samples").to_table().to_pylist()}
    for row in given:
        assert kept[row["id"]]["repair_text"] == row["repair_text"] != originals[row["id"]]["text"]
        assert kept[row["id"]]["text_id"] == row["repair_text_id"]
    unchanged = set(kept) - {r["id"] for r in given}
    assert all(kept[i]["repair_text"] is None for i in unchanged)
    assert all(kept[i]["text_id"] == originals[i]["text_id"] for i in unchanged)
    events = trace_record(corpus.tables, given[0]["id"])
    assert any(given[0]["repair_text"] in e.detail for e in events if e.stage == "decisions")


def test_an_export_has_the_new_caption_and_names_the_old_one(
    repaired: tuple[Workspace, set[str]], tmp_path: Path
) -> None:
    corpus, _ = repaired
    given = {
        r["id"]: r
        for r in corpus.tables.scan("decisions", schema.DECISIONS).to_pylist()
        if r["repair_text_id"] is not None
    }
    export(corpus, tmp_path / "out", Options("parquet", signals=True))
    rows = pq.read_table(tmp_path / "out" / "samples.parquet").to_pylist()
    originals = {r["id"]: r for r in corpus.tables.open("samples").to_table().to_pylist()}
    for row in rows:
        meta = json.loads(row["meta"] or "{}").get("isotrope_repair")
        if row["id"] in given:
            assert row["text"] == given[row["id"]]["repair_text"]
            assert row["text_id"] == given[row["id"]]["repair_text_id"]
            source = {"text": originals[row["id"]]["text"], "from": given[row["id"]]["repair_from"]}
            assert meta == source
        else:
            assert meta is None
            assert row["text"] == originals[row["id"]]["text"]


def test_the_curation_page_shows_proposals_and_which_are_used(
    repaired: tuple[Workspace, set[str]], tmp_path: Path
) -> None:
    corpus, _ = repaired
    proposals = read_page_data(corpus, ("drop",)).repairs[None]
    rows = [r for r in pair_rows(corpus).to_pylist() if r["text_repair"] is not None]
    proposed = {r["id"]: r for r in rows if r["text_repair"]}
    decisions = corpus.tables.open("decisions").to_table().to_pylist()
    used = {r["id"] for r in decisions if r["repair_text_id"] is not None}
    counts = (len({r["id"] for r in rows}), len(proposed), len(used))
    assert (proposals.mismatched, proposals.proposed, proposals.used) == counts
    sure = sorted((proposed[i]["text_repair"], i) for i in used)
    shown = [r.sample[1] for r in proposals.shown if r.used]
    assert used >= set(shown)
    assert next(r.probability for r in proposals.shown if r.used) == sure[-1][0]
    assert [r.probability for r in proposals.shown if r.used][-1] == sure[0][0]
    assert all(r.probability < 0.8 for r in proposals.shown if not r.used)

    (page, *_) = write_curation(corpus, tmp_path / "page.html")
    text = page.read_text()
    assert "Repaired captions" in text
    for repair in proposals.shown:
        assert repair.caption in text


def test_settings_that_do_not_fit_together_are_refused() -> None:
    text = "sources: {a: {path: .}}\n"
    with pytest.raises(ConfigError, match="needs mismatch"):
        parse(text + "pairs: {repair: true}\n")
    with pytest.raises(ConfigError, match="repair: true"):
        parse(text + "pairs: {mismatch: true}\npolicy: {text_repair: {min: 0.9}}\n")
    both = parse(text + "pairs: {mismatch: true, repair: true}\npolicy: {text_repair: {min: 0.9}}")
    assert both.policy.repairs
    assert not parse(text).policy.repairs
