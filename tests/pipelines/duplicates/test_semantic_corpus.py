"""Near-duplicates by vectors, from tables to the table `duplicates`, against loops."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from assets.table_checks import duplicates_sound
from pipelines.duplicates import lost_samples
from pipelines.duplicates.stage import find_duplicates
from pipelines.pairs.stage import measure_pairs
from pipelines.stages.context import StageContext
from store.config.duplicates import Duplicates
from store.config.policy import Policy
from store.tables import schema
from store.workspace import Workspace
from tests.helpers.paired_corpus import deliver, pair_rows, random_vectors, samples

THRESHOLD = 0.72
POLICY = Policy.model_validate(
    {"image_width": {"min": 2}, "text_image_cosine": {"min": 0.4, "made_for": "trio"}}
)


def add_signals(corpus: Workspace, rows: list[dict]) -> dict[str, dict[str, int | None]]:
    """Signals in another order than the samples, the same in each drop; by id of the sample."""
    rng = np.random.default_rng(4)
    values = {
        row["id"]: {
            "text_chars": int(rng.integers(1, 4)) if rng.random() < 0.8 else None,
            "image_width": int(rng.integers(1, 4)),
            "image_height": 3,
        }
        for row in rows
    }
    order = rng.permutation(len(rows)).tolist()
    signals = [
        {"drop": rows[n]["drop"], "id": rows[n]["id"], **values[rows[n]["id"]]} for n in order
    ]
    batch = pa.RecordBatch.from_pylist(signals, schema=schema.SIGNALS)
    corpus.tables.replace("signals", schema.SIGNALS, [batch], None)
    return values


def expected(
    rows: list[dict],
    vectors: dict[str, np.ndarray],
    signals: dict[str, dict[str, int | None]],
    cosine: dict[str, float | None],
) -> dict[str, str]:
    """By id of a lost sample: the survivor that it is lost to."""

    def rank(row: dict) -> tuple:
        own = signals[row["id"]]
        similarity = cosine[row["id"]]
        breaks = (own["image_width"] or 0) < 2 or (similarity is not None and similarity < 0.4)
        pixels = (own["image_width"] or 0) * (own["image_height"] or 0)
        return breaks, -(own["text_chars"] or 0), -pixels, row["id"]

    survivors: list[dict] = []
    lost: dict[str, str] = {}
    for row in sorted({r["id"]: r for r in rows}.values(), key=rank):
        for part in ("audio_id", "image_id", "text_id"):
            near = [
                (-float(vectors[row[part]] @ vectors[s[part]]), n, s["id"])
                for n, s in enumerate(survivors)
                if row.get(part) in vectors
                and s.get(part) in vectors
                and s[part] != row[part]
                and vectors[row[part]] @ vectors[s[part]] >= THRESHOLD
            ]
            if near:
                # Of the samples with one part, the first survivor counts.
                first = {s[part]: s["id"] for s in reversed(survivors) if part in s}
                by_id = {s["id"]: s for s in survivors}
                lost[row["id"]] = first[by_id[min(near)[2]][part]]
                break
        else:
            survivors.append(row)
    return lost


@pytest.mark.parametrize(("exact", "batch"), [(True, 50_000), (False, 7)])
def test_samples_are_lost_to_the_survivors_of_loops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exact: bool, batch: int
) -> None:
    monkeypatch.setattr(lost_samples, "_BATCH", batch)
    rows = samples(160)
    vectors = random_vectors(rows)
    corpus = deliver(tmp_path / "corpus", rows, vectors)
    measure_pairs(StageContext(corpus))
    signals = add_signals(corpus, rows)
    settings = Duplicates(semantic=THRESHOLD, parts="every", exact=exact)
    config = corpus.config.model_copy(update={"policy": POLICY, "duplicates": settings})
    corpus = replace(corpus, config=config)
    counts = find_duplicates(StageContext(corpus))
    cosine = {row["id"]: row["text_image_cosine"] for row in pair_rows(corpus).to_pylist()}
    lost = expected(rows, vectors, signals, cosine)
    table = corpus.tables.scan("duplicates", schema.DUPLICATES).to_pylist()
    near = [row for row in table if row["kind"] == "semantic"]
    assert {(r["id"], r["drop"]): r["cluster"] for r in near if not r["representative"]} == {
        (row["id"], row["drop"]): lost[row["id"]] for row in rows if row["id"] in lost
    }
    assert {(r["id"], r["drop"]) for r in near if r["representative"]} == {
        (i, min(r["drop"] for r in rows if r["id"] == i)) for i in lost.values()
    }
    copies = [(row["id"], row["drop"]) for row in table if row["kind"] == "exact"]
    in_both = {r["id"] for r in rows if r["drop"] == "b"} - lost.keys()
    assert sorted(copies) == sorted((i, d) for i in in_both for d in "ab") * exact
    assert table == sorted(table, key=lambda r: (r["cluster"], r["kind"], r["drop"], r["id"]))
    assert counts.input == len(rows)
    assert 20 < len(lost) < 140
    assert duplicates_sound(corpus, "*")[1] == []
