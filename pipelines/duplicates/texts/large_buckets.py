"""Find candidates among many texts that share a band, without looking at every pair of them.

Many texts of one template share a band, and hardly any are copies. If a text is a copy of another,
each of its words is in the other text, or is spelled like a word there (see
`templates.same_template`), or both texts have the same letters. So any one word of a text leads to
all texts that it can be a copy of. The rarest word is used, which in a template is what it was
filled in with. The choice of the word affects the number of candidates, not which pairs are found.

A text looks up `queries`: its rarest word and the words spelled like it, and its letters, as they
are and less one of them. It is listed under what it `holds`: those of its words that some text
looks up, and its letters.

A task takes some buckets, with 131,072 texts or so, and joins both in a database of its own, so
there may be more texts than memory holds. Buckets of one template in several bands have the same
first text, and go to the same task, so that texts are split into words once. A bucket with more
texts goes to several tasks, each of which looks up a part of its texts.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import duckdb
import numpy as np
import pyarrow as pa

from pipelines.duplicates.texts.shingles import normalise_texts
from pipelines.duplicates.texts.spelling import letters_used, spellings, split_words
from pipelines.engine.duckdb_scratch import ROWS, execute, temporary_database
from store.config.engine import DuckDB

_TEXTS = 1 << 13  # texts that are read at a time
_LISTED = 1 << 17  # texts that are listed in the buckets of a task
_FETCHED = 1 << 14  # candidates at a time
# The buckets in the order of their first texts, cut into tasks. A bucket is in one task: in that of
# the number of texts before it.
_ASSIGNED = """
CREATE OR REPLACE TEMP TABLE assigned AS
WITH sized AS (SELECT bucket, min(row) AS first, count(*) AS texts FROM large GROUP BY bucket)
SELECT bucket, (sum(texts) OVER (ORDER BY first, bucket) - texts)::BIGINT // {listed} AS task
FROM sized
"""
_TASKS = """
SELECT task, bucket, row FROM large JOIN assigned USING (bucket) ORDER BY task, bucket, row
"""
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
_CANDIDATES = """
SELECT DISTINCT least(x.row, y.row) AS x, greatest(x.row, y.row) AS y
FROM (SELECT * FROM large JOIN queries USING (row)) AS x
JOIN (SELECT * FROM large JOIN held USING (row)) AS y USING (bucket, is_content, value)
WHERE x.words <= y.words AND x.row <> y.row AND greatest(x.row, y.row) >= {first}
  AND x.row % {parts} = {part}
"""


class Buckets(NamedTuple):
    """A task: texts in large buckets, of which those with `row % parts == part` look others up.

    Attributes:
        bucket: (k,) uint64.
        row: (k,) int64.
    """

    bucket: np.ndarray
    row: np.ndarray
    part: int = 0
    parts: int = 1


def bucket_tasks(connection: duckdb.DuckDBPyConnection) -> Iterator[Buckets]:
    """Divide the texts in large buckets into tasks.

    Args:
        connection: to a database with the table `large`: `bucket` and `row` of texts in buckets
            that are too large for all pairs.
    """
    connection.execute(_ASSIGNED.format(listed=_LISTED))
    held, current = list[pa.RecordBatch](), -1
    for batch in connection.sql(_TASKS).to_arrow_reader(ROWS):
        task = batch["task"].to_numpy()
        begins = [0, *(np.flatnonzero(np.diff(task)) + 1).tolist()]
        for begin, end in pairwise([*begins, len(task)]):
            if held and task[begin] != current:
                yield from _divided(held)
                held = []
            current = task[begin]
            held.append(batch.slice(begin, end - begin))
    if held:
        yield from _divided(held)


def _divided(batches: list[pa.RecordBatch]) -> Iterator[Buckets]:
    rows = pa.Table.from_batches(batches)
    parts = max(1, len(rows) // (2 * _LISTED))
    for part in range(parts):
        yield Buckets(rows["bucket"].to_numpy(), rows["row"].to_numpy(), part, parts)


def candidates(
    texts: Callable[[np.ndarray], Sequence[str]], first: int, of: Buckets
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The pairs of a task that can be copies, each once, the smaller row first.

    Args:
        texts: reads the texts of some rows; each has at least one word.
        first: pairs of two texts before it are left out.
        of: the task.

    Yields:
        (k,) rows and (k,) other rows.
    """
    with temporary_database(DuckDB()) as connection:
        listed = pa.table([of.bucket, of.row], ["bucket", "row"])
        execute(connection, "CREATE TABLE large AS FROM stream", stream=listed.to_reader())
        for name, columns in _TABLES.items():
            types = ", ".join(f"{c} {'UBIGINT' if c != 'row' else 'BIGINT'}" for c in columns)
            connection.execute(f"CREATE TABLE {name} ({types})")
        rows = np.unique(of.row)
        for start in range(0, len(rows), _TEXTS):
            for name, arrays in _read(texts, rows[start : start + _TEXTS]).items():
                batch = pa.table(list(arrays), _TABLES[name])
                execute(connection, f"INSERT INTO {name} FROM stream", stream=batch.to_reader())
        for statement in _INDEX:
            connection.execute(statement)
        query = _CANDIDATES.format(first=first, part=of.part, parts=of.parts)
        for found in connection.sql(query).to_arrow_reader(_FETCHED):
            yield found["x"].to_numpy(), found["y"].to_numpy()


def _read(
    texts: Callable[[np.ndarray], Sequence[str]], rows: np.ndarray
) -> dict[str, tuple[np.ndarray, ...]]:
    """The columns of `_TABLES` for some texts."""
    words = split_words(normalise_texts(texts(rows)))
    text, letter = letters_used(words)
    _, once = np.unique(words.values, return_index=True)
    spelled = spellings(words, once)
    count = np.diff(words.starts)
    return {
        "words": (np.repeat(rows, count), words.values),
        "spelled": (words.values[once][spelled.owner], spelled.keys),
        "letters": (rows, count.astype(np.uint64), words.content),
        "less": (rows[text], words.content[text] - words.alphabet[letter]),
    }
