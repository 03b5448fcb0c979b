"""What the tables say about a sample, compared with the tables and with explanations of hits."""

from pathlib import Path

import httpx
import numpy as np
import pyarrow as pa
import pytest

import isotrope
from store.search.sample_record import Duplicate, sample_record
from store.tables import schema
from store.tables.lance_tables import quote
from store.workspace import Workspace
from tests.helpers.served import Served, publish_again, stored_corpus


@pytest.fixture(scope="module")
def corpus(stored: Workspace) -> isotrope.Corpus:
    return isotrope.open_corpus(stored.root)


def test_the_record_is_that_of_the_tables(server: Served, stored: Workspace) -> None:
    tables = stored.tables
    query = {"inputs": [{"text": "a red square number 15"}], "limit": 1}
    sample_id = httpx.post(f"{server.url}/search", json=query).json()["rows"][0]["id"]
    record = httpx.get(f"{server.url}/samples/{sample_id}/record").json()
    where = f"id = {quote(sample_id)}"
    samples = tables.scan("samples", schema.SAMPLES, ["drop", "key", "image_id", "text_id"], where)
    assert record["id"] == sample_id
    assert [d["drop"] for d in record["deliveries"]] == sorted(samples["drop"].to_pylist())
    decisions = tables.scan("decisions", schema.DECISIONS, where=where).to_pylist()
    assert {(d["drop"], d["keep"], d["rule"]) for d in record["deliveries"]} == {
        (d["drop"], d["keep"], d["rule"]) for d in decisions
    }
    signals = tables.scan("signals", schema.SIGNALS, where=where).to_pylist()[0]
    for name in ("image_width", "text_chars", "text_language"):
        assert record["signals"][name] == signals[name]
    assert not set(record["signals"]) & set(schema.FINGERPRINT_TYPES)
    parts = {part["modality"]: part["part_id"] for part in record["parts"]}
    assert parts["image"] == samples["image_id"][0].as_py()
    (appearance,) = record["releases"]
    assert (appearance["release"], appearance["modalities"]) == (1, list(parts))


def test_hubs_are_those_of_the_explanation(corpus: isotrope.Corpus) -> None:
    (hit,) = corpus.search(text="a red square number 15").limit(1)
    explained = hit.explain().parts[0]
    part = next(p for p in sample_record(corpus, hit["id"]).parts if p.modality == "image")
    of_texts = [hub for hub in part.hubs if hub.query == "text"]
    if explained.occurrence is None:
        assert of_texts == []
    else:
        assert (of_texts[0].occurrence, of_texts[0].hub) == (explained.occurrence, explained.hub)
        assert np.isclose(of_texts[0].mean, explained.mean_occurrence)


def test_duplicates_and_problems_are_those_of_the_sample(tmp_path: Path) -> None:
    workspace = stored_corpus(tmp_path / "corpus")
    corpus, tables = isotrope.open_corpus(workspace.root), workspace.tables
    first, second = corpus.search(text="a red square number 15").limit(2).to_list()
    copy, stranger = "1" * 32, "2" * 32
    members = [(first["id"], first["id"], True), (copy, first["id"], False), (stranger, copy, True)]
    rows = [
        {"id": i, "drop": "first", "cluster": c, "kind": "image", "representative": r}
        for i, c, r in members
    ]
    table = pa.Table.from_pylist([{**r, "similarity": 0.5} for r in rows], schema.DUPLICATES)
    tables.replace("duplicates", schema.DUPLICATES, table.to_batches(), None)
    problem = {"drop": "first", "stage": "signals", "source": ".", "key": "x", "id": first["id"]}
    problem |= {"outcome": "unmeasured", "rule": "image_hash", "error": "<b>"}
    ledger = pa.Table.from_pylist([problem], schema.LEDGER)
    tables.replace("ledger", schema.LEDGER, ledger.to_batches(), None)
    record = sample_record(corpus, first["id"])
    assert record.duplicates == [Duplicate(copy, "first", "image", False, 0.5)]
    assert [(p.rule, p.error) for p in record.deliveries[0].ledger] == [("image_hash", "<b>")]
    other = sample_record(corpus, second["id"])
    assert other.duplicates == []
    assert other.deliveries[0].ledger == []


def test_every_kept_release_is_listed(tmp_path: Path) -> None:
    workspace = stored_corpus(tmp_path / "corpus")
    publish_again(workspace.tables)
    corpus = isotrope.open_corpus(workspace.root)
    (hit,) = corpus.search(text="a red square number 15").limit(1)
    appearances = sample_record(corpus, hit["id"]).releases
    assert [a.release for a in appearances] == [1, 2]
    assert all("image" in a.modalities for a in appearances)


def test_samples_outside_the_release_have_no_record(server: Served) -> None:
    assert httpx.get(f"{server.url}/samples/{'0' * 32}/record").status_code == 404
    assert httpx.get(f"{server.url}/samples/x/record").status_code == 422
