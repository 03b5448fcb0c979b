"""Columns of samples in files: against those in memory."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipelines.decisions import columns_in_files
from pipelines.decisions.columns_in_files import in_files
from pipelines.pairs.stage import measure_pairs
from pipelines.policy import signal_columns
from pipelines.policy.column_files import ColumnFiles
from pipelines.policy.ranked_scores import ranked_scores
from pipelines.policy.signal_columns import packed, take_rows
from pipelines.stages.context import StageContext
from store.tables import schema
from tests.helpers.paired_corpus import deliver, random_vectors, samples


@pytest.mark.parametrize("joined", [[], ["source"], ["text_image_cosine", "source", "text"]])
def test_columns_in_files_are_those_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, joined: list[str]
) -> None:
    monkeypatch.setattr(columns_in_files, "ROWS", 16)
    rows = samples(60)
    corpus = deliver(tmp_path / "corpus", rows, random_vectors(rows))
    measure_pairs(StageContext(corpus))
    order = np.random.default_rng(0).permutation(len(rows))
    signals = [
        {"drop": rows[n]["drop"], "id": rows[n]["id"], "text_chars": n if n % 3 else None}
        | {"text_language": ("en", "de", None)[n % 3]}
        for n in order.tolist()
    ]
    batch = pa.RecordBatch.from_pylist(signals, schema=schema.SIGNALS)
    corpus.tables.replace("signals", schema.SIGNALS, [batch], None)
    names = ["id", "text_chars", "text_language", *joined]
    expected, files = packed(corpus, names), in_files(corpus, tmp_path / "scratch", names)
    assert files.num_rows == expected.num_rows == len(rows)
    for name in ["drop", *names]:
        kind = pa.string() if pa.types.is_dictionary(expected[name].type) else expected[name].type
        assert files[name].cast(kind).to_pylist() == expected[name].cast(kind).to_pylist()


def test_rows_far_apart_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signal_columns, "_SPAN", 5)
    column = pa.chunked_array([[*range(7)], [*range(7, 40)]])
    rows = np.random.default_rng(0).integers(0, 40, 30)
    assert take_rows(column, rows).to_pylist() == rows.tolist()


def test_files_without_rows(tmp_path: Path) -> None:
    columns = pa.schema([("drop", pa.string()), ("value", pa.float32())])
    files = ColumnFiles(tmp_path, [], columns)
    assert files.num_rows == 0
    assert files["value"].to_pylist() == files["drop"].to_pylist() == []


@pytest.mark.parametrize("kind", [np.uint32, np.uint64])
def test_selected_scores_are_those_of_a_sort(kind: type) -> None:
    rng = np.random.default_rng(0)
    group = rng.integers(0, 9, 500)
    score = rng.choice(rng.integers(0, np.iinfo(kind).max, 200, kind, endpoint=True), 500)
    group[group == 4] = 5  # a group without rows
    counts = np.bincount(group, minlength=9)
    rank = np.where(counts > 0, rng.integers(0, np.maximum(counts, 1)), -1)
    blocks = [(rows, group[rows], score[rows]) for rows in np.array_split(np.arange(500), 7)]
    selected, place = ranked_scores(lambda: iter(blocks), rank)
    for number in np.flatnonzero(counts):
        descending = np.sort(score[group == number])[::-1]
        assert selected[number] == descending[rank[number]]
        assert place[number] == rank[number] - (descending > selected[number]).sum()
