"""Find candidates among many texts that share a band, without looking at every pair of them.

Many texts of one template share a band, and hardly any are copies. If a text is a copy of another,
each of its words is in the other text, or is spelled like a word there (see
`templates.same_template`), or both texts have the same letters. So any one word of a text leads to
all texts that it can be a copy of. The rarest word is used, which in a template is what it was
filled in with. The choice of the word affects the number of candidates, not which pairs are found.

A text looks up `queries`: its rarest word and the words spelled like it, and its letters, as they
are and less one of them. It is listed under what it `holds`: those of its words that some text
looks up, and its letters. Both are tables of DuckDB, so there may be more texts than memory holds.
"""

from collections.abc import Callable, Iterator, Sequence

import duckdb
import numpy as np
import pyarrow as pa

from pipelines.duplicates.texts.shingles import normalise_texts
from pipelines.duplicates.texts.spelling import letters_used, spellings, split_words
from pipelines.engine.duckdb_scratch import execute
from pipelines.engine.ray_tasks import streams_in_order

_TEXTS = 1 << 13  # texts that are read at a time
_TABLES = {
    "words": ("row", "word"),  # a row for each word of each text
    "spelled": ("word", "key"),  # the keys of a word's spellings
    "letters": ("row", "words", "content"),  # of each text: the number of its words, its letters
    "less": ("row", "content"),  # the letters of a text less one of them
}
_INDEX = (
    """
CREATE OR REPLACE TEMP TABLE spellings AS SELECT DISTINCT word, key FROM spelled
""",
    # The uses of a word are those of all words that share a key with it.
    """
CREATE OR REPLACE TEMP TABLE rarest AS
WITH of_word AS (SELECT word, count(*) AS uses FROM words GROUP BY word),
  of_key AS (SELECT key, sum(uses) AS uses FROM spellings JOIN of_word USING (word) GROUP BY key),
  costs AS (SELECT word, sum(uses) AS cost FROM spellings JOIN of_key USING (key) GROUP BY word)
SELECT row, arg_min(word, cost) AS word FROM words JOIN costs USING (word) GROUP BY row
""",
    """
CREATE OR REPLACE TEMP TABLE alike AS
SELECT DISTINCT x.word AS word, y.word AS other
FROM spellings AS x JOIN spellings AS y USING (key) SEMI JOIN rarest ON rarest.word = x.word
""",
    """
CREATE OR REPLACE TEMP TABLE queries AS
SELECT row, words, false AS is_content, other AS value
FROM rarest JOIN alike USING (word) JOIN letters USING (row)
UNION ALL SELECT row, words, true, content FROM letters
UNION ALL
SELECT row, words, true, less.content FROM less JOIN letters USING (row)
SEMI JOIN letters AS other ON other.content = less.content
""",
    """
CREATE OR REPLACE TEMP TABLE held AS
SELECT DISTINCT row, words, false AS is_content, words.word AS value
FROM words JOIN letters USING (row) SEMI JOIN alike ON other = words.word
UNION ALL SELECT row, words, true, content FROM letters
""",
)
# All words of the text with fewer words are looked for in the other one.
CANDIDATES = """
SELECT DISTINCT least(x.row, y.row) AS x, greatest(x.row, y.row) AS y
FROM (SELECT * FROM large JOIN queries USING (row)) AS x
JOIN (SELECT * FROM large JOIN held USING (row)) AS y USING (bucket, is_content, value)
WHERE x.words <= y.words AND x.row <> y.row AND greatest(x.row, y.row) >= {first}
"""


def index_texts(
    connection: duckdb.DuckDBPyConnection,
    texts: Callable[[np.ndarray], Sequence[str]],
    *,
    on_ray: bool = False,
) -> None:
    """Make the tables `queries` and `held`, which `CANDIDATES` joins.

    Args:
        connection: to a database with the table `large`: `bucket` and `row` of texts in buckets
            that are too large for all pairs.
        texts: reads the texts of some rows; each has at least one word.
        on_ray: split texts into words by Ray tasks; else in this process.
    """
    for name, columns in _TABLES.items():
        types = ", ".join(f"{c} {'UBIGINT' if c != 'row' else 'BIGINT'}" for c in columns)
        connection.execute(f"CREATE OR REPLACE TEMP TABLE {name} ({types})")
    for columns in streams_in_order(_read, texts, _indexed_rows(connection), on_ray=on_ray):
        for name, arrays in columns.items():
            batch = pa.table(list(arrays), _TABLES[name])
            execute(connection, f"INSERT INTO {name} FROM stream", stream=batch.to_reader())
    for statement in _INDEX:
        connection.execute(statement)


def _indexed_rows(connection: duckdb.DuckDBPyConnection) -> Iterator[np.ndarray]:
    """The texts in large buckets, each once, in blocks."""
    cursor = connection.cursor()
    connection.execute("CREATE OR REPLACE TABLE indexed AS SELECT DISTINCT row FROM large")
    reader = cursor.sql("FROM indexed ORDER BY row").to_arrow_reader(_TEXTS)
    for batch in reader:
        yield batch["row"].to_numpy()


def _read(
    texts: Callable[[np.ndarray], Sequence[str]], rows: np.ndarray
) -> Iterator[dict[str, tuple[np.ndarray, ...]]]:
    """The columns of `_TABLES` for some texts."""
    words = split_words(normalise_texts(texts(rows)))
    text, letter = letters_used(words)
    _, once = np.unique(words.values, return_index=True)
    spelled = spellings(words, once)
    count = np.diff(words.starts)
    yield {
        "words": (np.repeat(rows, count), words.values),
        "spelled": (words.values[once][spelled.owner], spelled.keys),
        "letters": (rows, count.astype(np.uint64), words.content),
        "less": (rows[text], words.content[text] - words.alphabet[letter]),
    }
