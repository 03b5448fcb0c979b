"""Samples, subsets and statistics of an open release."""

import asyncio
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import isotrope
from isotrope import errors
from store.search import sample_batches
from store.search.asynchronous import AsyncCorpus
from store.tables import schema
from store.workspace import Workspace


@pytest.fixture(scope="module")
def corpus(stored: Workspace) -> isotrope.Corpus:
    return isotrope.connect(stored.root)


@pytest.fixture(scope="module")
def ids(corpus: isotrope.Corpus) -> list[str]:
    """All samples of the release, in an order that is not that of the table."""
    rows = [corpus.gallery_dataset(m).to_table(columns=["sample_ids"]) for m in ("image", "text")]
    lists = [r["sample_ids"].combine_chunks().flatten().to_pylist() for r in rows]
    known = sorted({each for names in lists for each in names})
    return [known[i] for i in np.random.default_rng(0).permutation(len(known))]


def test_samples_have_their_bytes_captions_and_metadata(
    corpus: isotrope.Corpus, ids: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sample_batches, "_IDS", 7)
    monkeypatch.setattr(sample_batches, "_BATCH_ROWS", 5)
    batches = list(corpus.samples([*ids, ids[0]]))
    assert all(batch.schema.names == schema.SAMPLES.names for batch in batches)
    assert max(batch.num_rows for batch in batches) == 5
    rows = [row for batch in batches for row in batch.to_pylist()]
    assert [row["id"] for row in rows] == ids
    stored = {row["id"]: row for row in corpus.tables.open("samples").to_table().to_pylist()}
    for row in rows:
        assert row["image"] == stored[row["id"]]["image"]
        assert row["text"] == stored[row["id"]]["text"]
        assert row["meta"] == stored[row["id"]]["meta"]


def test_batches_are_bounded_by_bytes(
    corpus: isotrope.Corpus, ids: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sample_batches, "_BATCH_BYTES", 500)
    for batch in corpus.samples(ids):
        sizes = [row["image_bytes"] or 0 for row in batch.to_pylist()]
        assert sum(sizes) <= 500 or len(sizes) == 1


def test_unknown_samples_are_named_before_the_first_batch(
    corpus: isotrope.Corpus, ids: list[str]
) -> None:
    unknown = "0" * 32
    with pytest.raises(errors.NotFoundError, match=unknown):
        corpus.samples([*ids, unknown])
    with pytest.raises(errors.NotFoundError, match=f"no sample {unknown} and 1 other"):
        corpus.samples([unknown, "1" * 32])
    for wrong in ("x", [3], ["../" * 10], ["x' OR '1'='1"], ids[0]):
        with pytest.raises(errors.InputError):
            corpus.samples(wrong)  # type: ignore[arg-type]
    assert list(corpus.samples([])) == []


def test_statistics_count_what_the_galleries_hold(corpus: isotrope.Corpus) -> None:
    statistics = corpus.statistics()
    assert (statistics.release, statistics.dim) == (1, corpus.release.dim)
    assert list(statistics.galleries) == corpus.release.modalities
    for modality, gallery in statistics.galleries.items():
        rows = corpus.gallery_dataset(modality).to_table(columns=["drops"])["drops"].to_pylist()
        assert gallery.rows == len(rows)
        assert gallery.drops == {
            drop: sum(drop in drops for drops in rows)
            for drop in sorted({d for r in rows for d in r})
        }
        assert gallery.bytes > 100 * gallery.rows
        for query, direction in gallery.directions.items():
            name = f"{query}->{modality}"
            assert direction.method == corpus.release.directions[name].method
            raw = corpus.release.evaluation.get(name, {}).get("raw", {})
            assert direction.raw == raw.get("mrr")
            assert direction.raw_skewness == raw.get("k_skewness")
    measured = [d for g in statistics.galleries.values() for d in g.directions.values() if d.raw]
    assert measured
    assert all(d.corrected == d.raw for d in measured if d.method == "none")
    json.dumps(statistics.to_dict(), allow_nan=False)
    statistics.show()


@pytest.fixture
def search(corpus: isotrope.Corpus):
    return corpus.search(text="a red square number 15").limit(7)


def test_a_subset_is_exported(corpus: isotrope.Corpus, search, tmp_path: Path) -> None:
    subset = corpus.subset(search)
    assert subset.ids == [row["id"] for row in search.to_list()]
    result = subset.export("parquet", tmp_path / "out")
    assert (result.samples, result.shards) == (7, 1)
    exported = pq.read_table(tmp_path / "out" / "samples.parquet")
    originals = {row["id"]: row for batch in subset.samples() for row in batch.to_pylist()}
    assert {row["id"]: row for row in exported.to_pylist()} == originals
    summary = json.loads((tmp_path / "out" / "isotrope.json").read_text())
    assert sum(summary["drops"].values()) == 7
    assert subset.export("parquet", tmp_path / "out") == result  # it is complete already
    same = AsyncCorpus(corpus).subset(search)
    assert asyncio.run(same.export("parquet", tmp_path / "out")) == result
    with pytest.raises(errors.InputError, match="other decisions or with other options"):
        corpus.subset(search.limit(5)).export("parquet", tmp_path / "out")


def test_a_subset_that_is_no_longer_kept_is_refused(
    corpus: isotrope.Corpus, search, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subset = corpus.subset(search)
    rejected = "0" * 32
    monkeypatch.setitem(subset.__dict__, "ids", [*subset.ids, rejected])
    with pytest.raises(errors.NotFoundError, match=f"do not keep 1 .* {rejected}"):
        subset.export("parquet", tmp_path / "out")


def test_an_export_needs_the_folder_and_a_known_format(
    corpus: isotrope.Corpus, search, tmp_path: Path
) -> None:
    with pytest.raises(errors.InputError, match="unknown format"):
        corpus.subset(search).export("csv", tmp_path / "out")
    tables = isotrope.connect(corpus.tables.root)
    with pytest.raises(errors.InputError, match="folder of corpus"):
        tables.subset(search).export("parquet", tmp_path / "out")
