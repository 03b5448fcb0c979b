"""Words of items that only captions of samples that go have: they leave the galleries too."""

from collections.abc import Set

import pyarrow as pa

from store.search.caption_words import words_of
from store.tables import schema
from store.tables.lance_tables import Tables, one_of
from store.tables.names import kind_of
from store.tables.words import WORDS, WORDS_TEXT


def lost_words(tables: Tables, samples: Set[str]) -> frozenset[str]:
    """The words that captions of some samples have, and those of no others.

    Args:
        tables: of the corpus. If its items have no words, nothing is read.
        samples: ids of the samples that go.
    """
    if not any(kind_of(name) == "words" for name in tables.names()):
        return frozenset()
    rows = tables.scan("samples", schema.SAMPLES, ["text"], one_of("id", sorted(samples)))
    lost = set().union(*(words_of(text) for text in rows["text"].to_pylist() if text))
    for batch in tables.open("samples").to_batches(columns=["id", "text"]):
        if not lost:
            break
        for sample, text in zip(batch["id"].to_pylist(), batch["text"].to_pylist(), strict=True):
            if text and sample not in samples:
                lost -= words_of(text)
    return frozenset(lost)


def has_word(batch: pa.RecordBatch, words: Set[str]) -> pa.Array:
    """Which rows of a gallery have one of some words: a bool array without nulls."""
    if not words or WORDS not in batch.schema.names:
        return pa.array([False] * batch.num_rows, pa.bool_())
    return pa.array([bool(_names(row) & words) for row in batch[WORDS].to_pylist()], pa.bool_())


def without_words(batch: pa.RecordBatch, words: Set[str]) -> pa.RecordBatch:
    """Rows of a gallery without some words."""
    if not words or WORDS not in batch.schema.names:
        return batch
    rows = batch.to_pylist()
    for row in rows:
        if _names(row[WORDS]) & words:
            row[WORDS] = [each for each in row[WORDS] if each["word"] not in words]
            row[WORDS_TEXT] = " ".join(w for w in row[WORDS_TEXT].split() if w not in words)
    return pa.RecordBatch.from_pylist(rows, schema=batch.schema)


def _names(words: list[dict[str, object]] | None) -> Set[object]:
    return {each["word"] for each in words or ()}
