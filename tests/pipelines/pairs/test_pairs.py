"""The stage `pairs`: values against a dense reference, order of arrival, and reruns."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from assets.metadata import signals as signal_metadata
from assets.table_checks import pairs_sound
from pipelines.pairs import stage
from pipelines.pairs.measure import PairScorer, TileVectors
from pipelines.pairs.stage import measure_pairs
from pipelines.stages import run_keys, staleness
from pipelines.stages.context import StageContext
from store import identity
from store.config.policy import Policy
from store.errors import ConfigError, NotFoundError
from store.tables import schema
from store.tables.staging import Counts, begin, publish, stage_record
from store.workspace import Workspace
from tests.helpers.paired_corpus import (
    configured,
    deliver,
    fill,
    pair_rows,
    parts,
    random_vectors,
    record_stages,
    reference,
    samples,
    unit,
)
from tests.helpers.trio import DIM


@pytest.fixture
def corpus(tmp_path: Path) -> Workspace:
    rows = samples(120)
    return configured(deliver(tmp_path / "corpus", rows, random_vectors(rows)), bank=16)


def test_values_are_those_of_a_dense_reference(corpus: Workspace) -> None:
    rows = samples(120)
    expected = reference(rows, random_vectors(rows), bank=16)
    assert measure_pairs(StageContext(corpus)) == Counts(len(rows), len(rows))
    measured = pair_rows(corpus).to_pylist()
    assert [(r["drop"], r["id"]) for r in measured] == sorted(expected)
    for row in measured:
        signals = expected[row.pop("drop"), row.pop("id")]
        assert {n for n, v in row.items() if v is not None} == set(signals)
        assert signals == pytest.approx({n: row[n] for n in signals}, abs=2e-5)
    assert sum(bool(signals) for signals in expected.values()) > 40
    assert pairs_sound(corpus, "*")[1] == []
    assert {"signals", "histograms"} <= set(signal_metadata.pairs(corpus))


def test_values_do_not_depend_on_the_order_of_arrival(corpus: Workspace, tmp_path: Path) -> None:
    measure_pairs(StageContext(corpus))
    rows = samples(120)
    vectors = random_vectors(rows)
    order = np.random.default_rng(3).permutation(len(rows))
    shuffled = [rows[n] for n in order]
    other = deliver(tmp_path / "other", shuffled, dict(reversed(vectors.items())))
    measure_pairs(StageContext(configured(other, bank=16)))
    assert pair_rows(other).equals(pair_rows(corpus))
    first = [row for row in rows if row["drop"] == "b"]
    later = deliver(tmp_path / "later", first, {p: vectors[p] for p in parts(first) & set(vectors)})
    later = configured(later, bank=16)
    measure_pairs(StageContext(later))
    fill(later, rows, vectors)
    record_stages(later, ["b"], "2")
    measure_pairs(StageContext(later))
    assert pair_rows(later).equals(pair_rows(corpus))


def test_the_table_is_made_again_if_its_inputs_changed(corpus: Workspace) -> None:
    tables = corpus.tables
    assert "pairs" in staleness.stale(corpus, None)
    measure_pairs(StageContext(corpus))
    assert "pairs" not in staleness.stale(corpus, None)
    version, before = tables.version("pairs__trio"), stage_record(tables, "pairs")
    record_stages(corpus, ["a"], "2")  # read and embedded again, with equal results
    assert "pairs" in staleness.stale(corpus, None)
    measure_pairs(StageContext(corpus))
    assert "pairs" not in staleness.stale(corpus, None)
    assert tables.version("pairs__trio") == version
    assert before is not None
    assert (stage_record(tables, "pairs") or {})["output"] == before["output"]
    measure_pairs(StageContext(corpus, forced=True))
    assert tables.version("pairs__trio") > version
    assert "pairs" in staleness.stale(configured(corpus, bank=17), None)
    rows = samples(130)
    fill(corpus, rows, random_vectors(rows))
    record_stages(corpus, ["a", "b"], "3")
    assert measure_pairs(StageContext(corpus)).kept == pair_rows(corpus).num_rows == len(rows)


def test_decisions_depend_on_pairs_if_the_policy_names_a_signal_of_pairs(corpus: Workspace) -> None:
    with begin(corpus.tables, "duplicates", "1", schema.DUPLICATES) as run:
        publish(
            corpus.tables,
            run,
            counts=Counts(),
            entries=[],
            write=lambda: None,
            output=lambda: "1",
        )
    run_keys.decisions(StageContext(corpus))
    policy = Policy.model_validate({"text_image_corrected": {"min": 0}})
    config = corpus.config.model_copy(update={"policy": policy})
    with_rule = replace(corpus, config=config)
    with pytest.raises(NotFoundError, match="no pairs yet"):
        run_keys.decisions(StageContext(with_rule))
    measure_pairs(StageContext(corpus))
    key, key_without_rule = (
        run_keys.decisions(StageContext(with_rule)),
        run_keys.decisions(StageContext(corpus)),
    )
    measure_pairs(StageContext(configured(corpus, bank=8)))
    assert run_keys.decisions(StageContext(with_rule)) != key
    assert run_keys.decisions(StageContext(corpus)) == key_without_rule
    assert set(staleness.stale(with_rule, None)) >= {"pairs", "decisions"}


def test_an_interrupted_run_is_resumed(
    corpus: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(corpus.root, copy)
    monkeypatch.setattr(stage, "_UNIT", 32)
    undisturbed = configured(Workspace.open(copy), bank=16)
    measure_pairs(StageContext(undisturbed))
    score, tile_sizes = PairScorer.score, []

    def failing(scorer: PairScorer, tile: pa.Table, tile_vectors: TileVectors) -> pa.RecordBatch:
        tile_sizes.append(tile.num_rows)
        if len(tile_sizes) == 3:
            raise RuntimeError("power failure")
        return score(scorer, tile, tile_vectors)

    monkeypatch.setattr(PairScorer, "score", failing)
    with pytest.raises(RuntimeError, match="power failure"):
        measure_pairs(StageContext(corpus))
    assert stage_record(corpus.tables, "pairs") is None
    measure_pairs(StageContext(corpus))
    assert sum(tile_sizes) == len(samples(120)) + 32
    assert (stage_record(corpus.tables, "pairs") or {})["resumed"] == 2
    assert pair_rows(corpus).equals(pair_rows(undisturbed))


def test_a_broken_vector_counts_as_missing_and_is_in_the_ledger(tmp_path: Path) -> None:
    rows = samples(60, drops=["a"])
    vectors = random_vectors(rows)
    broken = [rows[n]["text_id"] for n in (0, 1) if rows[n]["text_id"] in vectors]
    vectors[broken[0]] = np.full(DIM, np.nan, np.float32)
    vectors[broken[1]] = vectors[broken[1]] * 2
    corpus = configured(deliver(tmp_path / "corpus", rows, vectors), bank=64)
    counts = measure_pairs(StageContext(corpus))
    assert (counts.input, counts.kept, counts.failed) == (60, 60, 0)
    valid = {p: v for p, v in vectors.items() if p not in broken}
    expected = reference(rows, valid, bank=64, broken=broken)
    for row in pair_rows(corpus).to_pylist():
        signals = expected[row["drop"], row["id"]]
        assert signals == pytest.approx({n: row[n] for n in signals}, abs=2e-5)
        assert row["text_image_cosine"] is None or "text_image_cosine" in signals
    ledger = corpus.tables.scan("ledger", schema.LEDGER, where="stage = 'pairs'").to_pylist()
    assert {(e["key"], e["rule"], e["outcome"]) for e in ledger} == {
        ("k0", "pairs.vector", "unmeasured"),
        ("k1", "pairs.vector", "unmeasured"),
    }
    record_stages(corpus, ["a"], "2")
    measure_pairs(StageContext(corpus))  # nothing to do; the ledger's entries stay
    assert corpus.tables.open("ledger").count_rows("stage = 'pairs'") == len(ledger) == 2


def test_one_modality_has_no_pairs_and_a_single_sample_has_no_bank(tmp_path: Path) -> None:
    rows = [row for row in samples(80, drops=["a"]) if set(row) & {"text_id", "audio_id"} == set()]
    corpus = deliver(tmp_path / "images", rows, random_vectors(rows))
    corpus = configured(corpus, clusters=3)
    measure_pairs(StageContext(corpus))
    measured = pair_rows(corpus)
    filled = {n for n in schema.PAIR_TYPES if measured[n].null_count < measured.num_rows}
    assert filled == {"image_cluster"}
    single = samples(1, drops=["a"])
    vectors = dict(zip(sorted(parts(single)), unit(np.random.default_rng(0), 3), strict=True))
    corpus = deliver(tmp_path / "single", single, vectors)
    measure_pairs(StageContext(corpus))
    (row,) = pair_rows(corpus).to_pylist()
    assert row["text_image_cosine"] is not None
    assert row["text_image_corrected"] is None
    assert row["text_image_rank"] is None


def test_clusters_hold_near_vectors(tmp_path: Path) -> None:
    rows = samples(160, drops=["a"])
    part_ids = sorted(parts(rows))
    vectors = unit(np.random.default_rng(5), len(part_ids), topics=4)
    corpus = deliver(tmp_path / "corpus", rows, dict(zip(part_ids, vectors, strict=True)))
    measure_pairs(StageContext(configured(corpus, clusters=4)))
    measured = pair_rows(corpus)
    topic = {part: number % 4 for number, part in enumerate(part_ids)}
    image_topic = {row["id"]: topic[row["image_id"]] for row in rows if "image_id" in row}
    clustered = measured.filter(pc.is_valid(measured["image_cluster"]))
    topics = [image_topic[i] for i in clustered["id"].to_pylist()]
    pairs = set(zip(topics, clustered["image_cluster"].to_pylist(), strict=True))
    assert len(pairs) == len({t for t, _ in pairs}) == 4
    again = deliver(tmp_path / "again", rows[::-1], dict(zip(part_ids, vectors, strict=True)))
    measure_pairs(StageContext(configured(again, clusters=4)))
    assert pair_rows(again).equals(measured)
    assert signal_metadata.pairs(configured(corpus, clusters=4))["clusters"]


def test_a_linear_head_must_fit_the_space(corpus: Workspace) -> None:
    weight = np.random.default_rng(0).normal(size=(1, DIM)).astype(np.float32)
    np.savez(corpus.root / "head.npz", weight=weight, bias=np.ones(1, np.float32))
    measure_pairs(StageContext(configured(corpus, image_laion_aesthetic="head.npz")))
    rows = samples(120)
    vectors = random_vectors(rows)
    image_ids = {row["id"]: row.get("image_id") for row in rows}
    for row in pair_rows(corpus).to_pylist():
        part = image_ids[row["id"]]
        expected = float(vectors[part] @ weight[0] + 1) if part in vectors else None
        assert row["image_laion_aesthetic"] == pytest.approx(expected, abs=1e-5)
    np.savez(corpus.root / "wide.npz", weight=np.ones((1, DIM + 1)), bias=np.ones(1))
    with pytest.raises(ConfigError, match=rf"of {DIM + 1} dim.*'trio' has vectors of {DIM}"):
        measure_pairs(StageContext(configured(corpus, image_laion_aesthetic="wide.npz")))
    with pytest.raises(NotFoundError, match="there is no file"):
        measure_pairs(StageContext(configured(corpus, image_laion_aesthetic="gone.npz")))


def test_a_generic_caption_scores_below_specific_ones(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = []
    for number in range(400):
        part_ids = {f"{m}_id": identity.part_id(m, str(number).encode()) for m in ("image", "text")}
        sample = identity.sample_id(part_ids["image_id"], None, part_ids["text_id"])
        rows.append({"id": sample, "drop": "a", "source": "s", "key": str(number), **part_ids})
    topic, centre = rng.normal(size=(400, DIM)), rng.normal(size=(2, DIM))
    towers = [0.8 * c + topic + 0.1 * rng.normal(size=topic.shape) for c in centre]
    image, text = (s / np.linalg.norm(s, axis=1, keepdims=True) for s in towers)
    text[::20] = image.mean(axis=0) / np.linalg.norm(image.mean(axis=0))
    vectors = {r["image_id"]: v for r, v in zip(rows, image, strict=True)}
    vectors |= {r["text_id"]: v for r, v in zip(rows, text, strict=True)}
    corpus = deliver(tmp_path / "corpus", rows, vectors)
    measure_pairs(StageContext(corpus))
    generic = {row["id"] for row in rows[::20]}
    measured = pair_rows(corpus)
    is_generic = np.array([i in generic for i in measured["id"].to_pylist()])
    raw, corrected, rank = (
        measured[f"text_image_{n}"].to_numpy() for n in ("cosine", "corrected", "rank")
    )

    def below(values: np.ndarray) -> float:
        """How often a pair with a generic caption is below one with a specific caption."""
        return (values[is_generic][:, None] < values[~is_generic]).mean()

    assert below(raw) < 0.4
    assert below(corrected) > 0.9
    assert below(-rank) > 0.9


def test_rows_are_the_same_by_ray_tasks(
    corpus: Workspace, ray_cluster: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "_UNIT", 32)
    counts = measure_pairs(StageContext(corpus))
    in_process = pair_rows(corpus)
    monkeypatch.setattr(stage, "_WORTH_CONNECTED", 0)
    tasks = stage.results_in_order
    used = []

    def counted(*arguments: Any, on_ray: bool) -> Any:
        used.append(on_ray)
        return tasks(*arguments, on_ray=on_ray)

    monkeypatch.setattr(stage, "results_in_order", counted)
    assert measure_pairs(StageContext(corpus, forced=True)) == counts
    assert used == [True]
    rows = pair_rows(corpus)
    for name in rows.schema.names:
        if pa.types.is_floating(rows.schema.field(name).type):
            values, expected = (table[name].fill_null(2).to_numpy() for table in (rows, in_process))
            np.testing.assert_allclose(values, expected, atol=1e-6)
        else:
            assert rows[name] == in_process[name]
