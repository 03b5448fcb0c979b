"""Takedown of a sample whose caption gave a word to other items."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from pipelines.takedown import takedown
from pipelines.takedown.item_words import lost_words
from pipelines.takedown.selection import Selection
from store.tables import words
from store.tables.words import ItemWords, read_words, write_words
from store.workspace import Workspace
from tests.helpers.served import stored_corpus


def test_a_word_of_no_other_caption_is_gone(tmp_path: Path) -> None:
    corpus: Workspace = stored_corpus(tmp_path, 1)
    tables = corpus.tables
    samples = tables.open("samples").to_table()
    rows = samples.to_pylist()
    (donor,) = (row for row in rows if row["key"] == "red-0015")
    donor["text"] = "a vermilion square"
    plain = samples.schema.remove_metadata()
    tables.replace("samples", plain, [pa.RecordBatch.from_pylist(rows, schema=plain)], None)
    assert lost_words(tables, {donor["id"]}) == frozenset()  # items have no words

    space = corpus.config.space
    vectors = np.eye(2, 16, dtype=np.float32)
    names = ["vermilion", "square"]
    bias = {"image": np.zeros(2, np.float32)}
    write_words(tables, space, ItemWords(names, vectors, bias, 2, "key"))
    image = f"gallery__{space}__image"
    gallery = tables.open(image).to_table()
    items = gallery.to_pylist()
    for row in items:
        row["words"] = [{"word": word, "weight": 1.0} for word in names]
        row["words_text"] = "vermilion vermilion square"
    columns = pa.schema([*gallery.schema.remove_metadata(), *words.COLUMNS])
    tables.replace(image, columns, [pa.RecordBatch.from_pylist(items, schema=columns)], None)
    assert lost_words(tables, {donor["id"]}) == {"vermilion"}

    takedown.take_down(corpus, Selection(keys=frozenset([donor["key"]])))

    for path in Path(tables.root).rglob("*"):
        if path.is_file():
            assert b"vermilion" not in path.read_bytes(), path
    left = tables.open(image).to_table()
    assert left.num_rows == len(items) - 1
    assert {tuple(each["word"] for each in row) for row in left["words"].to_pylist()} == {
        ("square",)
    }
    assert set(left["words_text"].to_pylist()) == {"square"}
    stored = read_words(tables, space)
    assert stored is not None
    assert list(stored.words) == ["square"]
