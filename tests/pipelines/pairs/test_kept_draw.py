"""The draw is kept while the corpus grows: what is measured, what stays, and when it is renewed."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from assets.table_checks import pairs_sound
from pipelines.pairs import stage
from pipelines.pairs.measure import PairScorer, TileVectors
from pipelines.pairs.stage import measure_pairs
from pipelines.stages.context import StageContext
from store.tables import schema
from store.tables.pair_draws import pair_draws
from store.tables.stage_records import forget_records, of_stage
from store.tables.staging import Counts, stage_record
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
)
from tests.helpers.trio import DIM
from tests.pipelines.pairs.test_mismatch import planted_rows

SETTINGS: dict[str, Any] = {"bank": 64, "mismatch": True, "clusters": 4, "sentinels": 20}
ROWS = samples(240, drops=["a"])
FIRST = ROWS[:200]
LATER = [{**row, "drop": "later"} for row in ROWS[200:]]
VECTORS = random_vectors(ROWS)


def of(rows: list[dict], vectors: dict[str, np.ndarray] = VECTORS) -> dict[str, np.ndarray]:
    return {part: vectors[part] for part in parts(rows) & vectors.keys()}


def change(corpus: Workspace, rows: list[dict], vectors: dict[str, np.ndarray]) -> Counts:
    """Give the corpus other samples and vectors, and measure them."""
    fill(corpus, rows, vectors)
    before = stage_record(corpus.tables, "samples", "a") or {"output": ""}
    record_stages(corpus, {row["drop"] for row in rows}, before["output"] + "+")
    return measure_pairs(StageContext(corpus))


@pytest.fixture
def corpus(tmp_path: Path) -> Workspace:
    corpus = configured(deliver(tmp_path / "corpus", FIRST, of(FIRST)), **SETTINGS)
    measure_pairs(StageContext(corpus))
    return corpus


def drawn(corpus: Workspace) -> pa.Table:
    return corpus.tables.scan("pair_draws__trio", pair_draws(DIM))


def stored(corpus: Workspace) -> dict[tuple[str, str], dict]:
    rows = pair_rows(corpus).to_pylist()
    by_key = {(row["drop"], row["id"]): row for row in rows}
    assert len(by_key) == len(rows)
    return by_key


def fragments(corpus: Workspace) -> list[str]:
    """The data files of the table, each with its deleted rows."""
    dataset = corpus.tables.open("pairs__trio")
    return [str(fragment.metadata.to_json()) for fragment in dataset.get_fragments()]


def check_against_the_same_draw(corpus: Workspace) -> None:
    """Compare the table with one in which all rows are measured against the stored draw."""
    before, draw = stored(corpus), drawn(corpus)
    corpus.tables.delete("pairs__trio", schema.PAIRS, "true")
    measure_pairs(StageContext(corpus))
    assert drawn(corpus).equals(draw)
    after = stored(corpus)
    assert after.keys() == before.keys()
    for key, row in after.items():
        assert {n for n, v in row.items() if v is None} == {
            n for n, v in before[key].items() if v is None
        }
        numbers = {n: v for n, v in row.items() if v is not None}
        assert {n: before[key][n] for n in numbers} == pytest.approx(numbers, abs=2e-6)
    assert pairs_sound(corpus, "*")[1] == []


def test_more_samples_leave_all_other_rows_as_they_are(corpus: Workspace) -> None:
    draw, before, files = drawn(corpus), stored(corpus), fragments(corpus)
    rows = FIRST + LATER
    assert change(corpus, rows, of(rows)) == Counts(len(rows), len(rows))
    assert drawn(corpus).equals(draw)
    after = stored(corpus)
    assert {key: after[key] for key in before} == before
    assert fragments(corpus)[: len(files)] == files  # not a row of them was written or deleted
    expected = reference(rows, VECTORS, bank=64, drawn_from=FIRST)
    for row in LATER:
        signals = expected["later", row["id"]]
        measured = after["later", row["id"]]
        assert signals == pytest.approx({n: measured[n] for n in signals}, abs=2e-5)
    assert pairs_sound(corpus, "*")[1] == []
    check_against_the_same_draw(corpus)


def test_rows_of_samples_that_left_are_deleted(corpus: Workspace) -> None:
    rows = FIRST + LATER
    change(corpus, rows, of(rows))
    draw, before = drawn(corpus), stored(corpus)
    assert change(corpus, FIRST, of(FIRST)) == Counts(len(FIRST), len(FIRST))
    assert stored(corpus) == {key: row for key, row in before.items() if key[0] == "a"}
    fewer = FIRST[:192]  # without some members of the bank, whose vectors are gone too
    change(corpus, fewer, of(fewer))
    assert drawn(corpus).equals(draw)
    gone = {row["id"] for row in FIRST[192:]}
    assert gone & set(draw["sample_id"].to_pylist())
    assert stored(corpus) == {
        key: row for key, row in before.items() if key[0] == "a" and key[1] not in gone
    }
    check_against_the_same_draw(corpus)


def test_samples_with_other_embedded_parts_are_measured_again(corpus: Workspace) -> None:
    """As after a threshold of a prefilter was changed."""
    draw, before = drawn(corpus), stored(corpus)
    vectors = of(FIRST)
    missing = sorted(parts(FIRST) - vectors.keys())[:3]
    rng = np.random.default_rng(9).normal(size=(3, DIM))
    more = vectors | dict(zip(missing, rng / np.linalg.norm(rng, axis=1)[:, None], strict=True))
    without = next(iter(vectors))
    del more[without]
    touched = {
        row["id"]
        for row in FIRST
        if any(row.get(f"{m}_id") in {*missing, without} for m in schema.MODALITIES)
    }
    change(corpus, FIRST, more)
    assert drawn(corpus).equals(draw)
    after = stored(corpus)
    assert {key for key in after if after[key] != before[key]} <= {("a", i) for i in touched}
    assert any(after["a", i] != before["a", i] for i in touched)
    check_against_the_same_draw(corpus)


def test_a_sample_that_comes_in_another_drop_has_a_row_for_each(corpus: Workspace) -> None:
    rows = FIRST + [{**row, "drop": "again"} for row in FIRST[:9]]
    assert change(corpus, rows, of(rows)).kept == 209
    assert stored(corpus).keys() == {(row["drop"], row["id"]) for row in rows}
    moved = [{**row, "drop": "again"} for row in FIRST[:9]] + FIRST[9:]
    change(corpus, moved, of(moved))
    assert stored(corpus).keys() == {(row["drop"], row["id"]) for row in moved}
    check_against_the_same_draw(corpus)


def from_scratch(
    root: Path,
    rows: list[dict],
    vectors: dict[str, np.ndarray],
    settings: dict[str, Any] = SETTINGS,
) -> Workspace:
    fresh = configured(deliver(root, rows, vectors), **settings)
    measure_pairs(StageContext(fresh))
    return fresh


def check_equal(first: Workspace, second: Workspace) -> None:
    assert drawn(first).equals(drawn(second))
    assert pair_rows(first).equals(pair_rows(second))


def test_a_corpus_that_has_doubled_gets_the_draw_of_a_new_corpus(
    corpus: Workspace, tmp_path: Path
) -> None:
    rows = samples(400, drops=["a"])
    vectors = random_vectors(rows)
    change(corpus, rows, vectors)
    check_equal(corpus, from_scratch(tmp_path / "fresh", rows, vectors))
    first = samples(20, drops=["a"])
    images = [row for row in first if not {"text_id", "audio_id"} & row.keys()]
    grown = from_scratch(tmp_path / "images", images, of(images, vectors))
    change(grown, first, of(first, vectors))  # the first pairs: no bank had any
    check_equal(grown, from_scratch(tmp_path / "pairs", first, of(first, vectors)))


def test_a_corpus_that_lost_a_tenth_of_the_bank_gets_a_new_draw(
    corpus: Workspace, tmp_path: Path
) -> None:
    change(corpus, FIRST[:150], of(FIRST[:150]))
    check_equal(corpus, from_scratch(tmp_path / "fresh", FIRST[:150], of(FIRST[:150])))


@pytest.mark.parametrize("why", ["forced", "settings", "no record"])
def test_the_draw_is_made_anew(corpus: Workspace, tmp_path: Path, why: str) -> None:
    rows = FIRST + LATER
    change(corpus, rows, of(rows))
    output = (stage_record(corpus.tables, "pairs") or {})["output"]
    settings = SETTINGS | ({"bank": 63} if why == "settings" else {})
    if why == "no record":
        forget_records(corpus.tables, of_stage("pairs"))
    changed = configured(corpus, **settings)
    measure_pairs(StageContext(changed, forced=why == "forced"))
    check_equal(corpus, from_scratch(tmp_path / "fresh", rows, of(rows), settings))
    assert (stage_record(corpus.tables, "pairs") or {})["output"] != output


def test_an_interrupted_run_of_few_samples_is_resumed(
    corpus: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "_UNIT", 16)
    score, tiles = PairScorer.score, []

    def failing(scorer: PairScorer, tile: pa.Table, tile_vectors: TileVectors) -> pa.RecordBatch:
        tiles.append(tile.num_rows)
        if len(tiles) == 2:
            raise RuntimeError("power failure")
        return score(scorer, tile, tile_vectors)

    monkeypatch.setattr(PairScorer, "score", failing)
    rows = FIRST + LATER
    with pytest.raises(RuntimeError, match="power failure"):
        change(corpus, rows, of(rows))
    measure_pairs(StageContext(corpus))
    assert sum(tiles) == len(LATER) + 16
    assert (stage_record(corpus.tables, "pairs") or {})["resumed"] == 1
    check_against_the_same_draw(corpus)


def test_proposed_captions_follow_the_mismatched_pairs(tmp_path: Path) -> None:
    """A new mismatched pair can be the donor of an older one, whose row is written again."""
    rows, vectors, _ = planted_rows(captions=True)
    corpus = configured(deliver(tmp_path / "corpus", rows[:330], of(rows[:330], vectors)))
    corpus = configured(corpus, mismatch=True, repair=True)
    measure_pairs(StageContext(corpus))
    before = stored(corpus)
    change(corpus, rows, vectors)
    after = stored(corpus)
    changed = {key for key in before if after[key] != before[key]}
    later = {row["id"] for row in rows[330:]}
    assert any(after[key]["repair_from"] in later for key in changed)
    measured = [n for n in schema.PAIR_TYPES if n != "text_repair"]
    for key in before:
        assert [after[key][n] for n in measured] == [before[key][n] for n in measured]
        assert key not in changed or before[key]["text_image_mismatch"] > 0.5
    mismatched = pc.sum(pc.greater(pair_rows(corpus)["text_image_mismatch"], 0.5)).as_py()
    assert len(changed) < mismatched
    check_against_the_same_draw(corpus)
