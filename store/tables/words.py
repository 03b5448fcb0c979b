"""The table `words__{space}`: the words that items are given, with their vectors and biases.

It is made with the galleries, on the captions of the bank, and lasts as long as their fits do.
"""

import json
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from store.arrow import as_matrix, vector_column
from store.tables.lance_tables import Tables
from store.tables.names import words_table

# The best words of an item, and the same as a text for full-text search, in which a word is
# repeated by its weight.
WORDS, WORDS_TEXT = "words", "words_text"
_WORD = pa.struct(
    [
        pa.field("word", pa.string(), nullable=False),
        pa.field("weight", pa.float32(), nullable=False),
    ]
)
COLUMNS = pa.schema([pa.field(WORDS, pa.list_(_WORD)), pa.field(WORDS_TEXT, pa.large_string())])
_REPEATED = 3  # the best word is in the text so many more times than the last one


class ItemWords(NamedTuple):
    """What gives words to items.

    Attributes:
        words: n words.
        vectors: (n, d) unit rows.
        biases: (n,) by modality of the items, which are subtracted from cosines.
        per_item: words of an item.
        key: the fit that made this.
    """

    words: Sequence[str]
    vectors: np.ndarray
    biases: Mapping[str, np.ndarray]
    per_item: int
    key: str

    def best(self, modality: str, items: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The best words of items by their corrected scores.

        Args:
            modality: of the items.
            items: unit rows (m, d).

        Returns:
            The numbers of the words, best first, and their weights, both (m, k), k = `per_item`,
            or fewer if there are fewer words. The weight of a word is (s - e) / (b - e), where s is
            its score, b that of the best word and e that of the best word that is left out.
        """
        scores = items @ self.vectors.T - self.biases[modality]
        count = min(self.per_item, scores.shape[1])
        order = np.argsort(-scores, axis=1, kind="stable")[:, : count + 1]
        listed = np.take_along_axis(scores, order, axis=1)
        least = listed[:, -1:]
        weights = (listed - least) / np.maximum(listed[:, :1] - least, 1e-12)
        return order[:, :count], weights[:, :count].astype(np.float32)

    def columns(self, modality: str, items: np.ndarray) -> dict[str, pa.Array]:
        """The columns `COLUMNS` of items (m, d); nulls for a modality that has no words."""
        if modality not in self.biases or not self.words:
            return {f.name: pa.nulls(len(items), f.type) for f in COLUMNS}
        numbers, weights = self.best(modality, items)
        own = np.array(self.words, object)[numbers]
        listed = [
            [{"word": word, "weight": weight} for word, weight in zip(*row, strict=True)]
            for row in zip(own, weights, strict=True)
        ]
        times = 1 + np.rint(_REPEATED * weights).astype(int)
        texts = [" ".join(np.repeat(*row)) for row in zip(own, times, strict=True)]
        return {
            WORDS: pa.array(listed, COLUMNS.field(WORDS).type),
            WORDS_TEXT: pa.array(texts, COLUMNS.field(WORDS_TEXT).type),
        }


def _schema(dim: int) -> pa.Schema:
    return pa.schema(
        [
            pa.field("word", pa.string(), nullable=False),
            pa.field("biases", pa.string(), nullable=False),  # by modality, as JSON
            pa.field("count", pa.int64(), nullable=False),
            pa.field("key", pa.string(), nullable=False),
            pa.field("vector", pa.list_(pa.float32(), dim), nullable=False),
        ]
    )


def write_words(tables: Tables, space: str, words: ItemWords) -> None:
    """Replace the rows of the table."""
    biases = (
        json.dumps({m: float(bias[n]) for m, bias in words.biases.items()})
        for n in range(len(words.words))
    )
    columns = _schema(words.vectors.shape[1])
    table = pa.table(
        {
            "word": pa.array(words.words, pa.string()),
            "biases": pa.array(biases, pa.string()),
            "count": pa.array([words.per_item] * len(words.words), pa.int64()),
            "key": pa.array([words.key] * len(words.words), pa.string()),
            "vector": vector_column(words.vectors),
        }
    )
    tables.replace(words_table(space), columns, table.cast(columns).to_batches(), None)


def read_words(tables: Tables, space: str) -> ItemWords | None:
    """The stored words; None if there are none."""
    dataset = tables.open_or_none(words_table(space))
    rows = None if dataset is None else dataset.to_table()
    if rows is None or not rows.num_rows:
        return None
    biases = [json.loads(each) for each in rows["biases"].to_pylist()]
    by_modality = {m: np.array([b[m] for b in biases], np.float32) for m in biases[0]}
    count, key = (rows[name][0].as_py() for name in ("count", "key"))
    return ItemWords(rows["word"].to_pylist(), as_matrix(rows["vector"]), by_modality, count, key)
