"""The facts about every sample that near-duplicates are found by, in a scratch database.

There may be more samples than memory holds. Ids and parts are tables of DuckDB; hashes,
fingerprints and texts are read by row id, for samples that are compared
(`pipelines.duplicates.contents`).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import lance
import pyarrow.compute as pc

from pipelines.engine.duckdb_scratch import ROWS, create_by_range, database, execute, query_value
from pipelines.signals.incremental import parse_versions
from store.errors import InvariantError
from store.workspace import Workspace

PARTS = ("image", "audio", "text")  # a sample's first part is the first of these that it has
_IDS = ["drop", "id", *(f"{p}_id" for p in PARTS)]
# A sample in several drops is listed under the first of them.
_COPIED = """
SELECT id, min("drop") AS first, count(*) AS drops
FROM samples WHERE in_range(id) GROUP BY id HAVING count(*) > 1
"""
_FACTS = """
SELECT samples.*, signals.* EXCLUDE ("drop", id)
FROM (FROM samples WHERE in_range(id)) samples
JOIN (FROM signals WHERE in_range(id)) signals USING ("drop", id)
LEFT JOIN (FROM copied WHERE in_range(id)) copied USING (id)
WHERE copied.first IS NULL OR copied.first = "drop"
"""
_MEASURED = """
SELECT (SELECT count(*) FROM facts) + (SELECT coalesce(sum(drops - 1), 0) FROM copied)
"""


@contextmanager
def all_samples(workspace: Workspace, folder: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a database with the tables `samples` and `copied`.

    `samples` has a row for each sample of each drop: drop, id, image_id, audio_id, text_id and its
    row id, `row`. `copied` has the ids that are in several drops, the first drop of each, and the
    number of its `drops`.

    Args:
        workspace: the corpus.
        folder: where the database file is made.
    """
    columns = {n: n for n in _IDS} | {"row": "_rowid"}
    stream = workspace.tables.open("samples").scanner(columns=columns, batch_size=ROWS)
    with database(folder, workspace.config.engine.duckdb) as connection:
        execute(connection, "CREATE TABLE samples AS FROM stream", stream=stream.to_reader())
        create_by_range(connection, "copied", _COPIED, "samples")
        yield connection


def add_facts(workspace: Workspace, connection: duckdb.DuckDBPyConnection) -> int:
    """Add the table `facts`: one row a sample.

    Its columns are those of `samples`; `measured`, its row id in `signals`; `image_pdq_quality`;
    and `has_fingerprint`, whether a recording has one, if recordings are compared.

    Args:
        workspace: the corpus.
        connection: as `all_samples` opens it.

    Returns:
        The number of its rows.

    Raises:
        InvariantError: `signals` has other rows than `samples`, or lacks fingerprints.
    """
    dataset = workspace.tables.open("signals")
    _check_fingerprints(workspace, dataset)
    added = {"image_pdq_quality": "image_pdq_quality"}
    if workspace.config.duplicates.audio is not None:
        added["has_fingerprint"] = "audio_fingerprint IS NOT NULL"
    columns = {"drop": "drop", "id": "id", "measured": "_rowid"} | added
    stream = dataset.scanner(columns=columns, batch_size=ROWS).to_reader()
    execute(connection, "CREATE TABLE signals AS FROM stream", stream=stream)
    create_by_range(connection, "facts", _FACTS, "samples", "signals")
    counts = {
        query_value(connection, query)
        for query in ("SELECT count(*) FROM samples", "SELECT count(*) FROM signals", _MEASURED)
    }
    if len(counts) > 1:
        raise InvariantError(
            "signals has other rows than samples; `isotrope run` measures the signals of every drop"
        )
    return int(query_value(connection, "SELECT count(*) FROM facts"))


def is_compared(part: str, first_only: bool) -> str:
    """An SQL condition: a sample is compared by a part, if it has it, or if it is its first one."""
    earlier = PARTS[: PARTS.index(part)] if first_only else ()
    return " AND ".join([f"{part}_id IS NOT NULL", *(f"{p}_id IS NULL" for p in earlier)])


def _check_fingerprints(workspace: Workspace, signals: lance.LanceDataset) -> None:
    """Check that the fingerprints that corpus.yaml needs were measured of every sample."""
    needed = workspace.config.fingerprint_scorers()
    if not needed:
        return
    scorers: set[str | None] = set()
    for batch in signals.scanner(columns=["scorers"], batch_size=ROWS).to_batches():
        scorers.update(pc.unique(batch["scorers"]).to_pylist())
    for names in scorers:
        if missing := [name for name in needed if name not in parse_versions(names)]:
            raise InvariantError(
                f"signals lacks the fingerprints of {', '.join(missing)}; `isotrope run` measures"
                " the signals of every drop"
            )
