"""The samples that the decisions keep, and their clusters, in scratch tables.

A cluster holds samples that share a part, directly or through other samples (five captions of one
image, one caption of three images). Splits and masks go by cluster, so that no bank contains
anything of a test pair.

There may be more samples than memory holds, so they are joined and grouped by hash ranges.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from pipelines.engine.components import label_components
from pipelines.engine.open_scratch import scratch_tables
from pipelines.engine.scratch_tables import ScratchTables
from store.tables import schema
from store.tables.table_version import TableVersion
from store.workspace import Workspace

_PARTS = [f"{m}_id" for m in schema.MODALITIES]
_COLUMNS = ["drop", "id", "key", *_PARTS]
_JOINED = """
SELECT stored.* REPLACE (coalesce(repair_text_id, text_id) AS text_id), repair_text
FROM (FROM stored WHERE in_range(id)) stored
JOIN (FROM decided WHERE in_range(id)) USING ("drop", id)
"""
# Samples of the same parts, and only those: the others are clusters of their own.
_LINKS = "".join(
    f"""
SELECT DISTINCT id, {m} AS part FROM kept SEMI JOIN (
  SELECT {m} FROM kept WHERE in_range({m}) GROUP BY {m} HAVING min(id) < max(id)
) USING ({m}) WHERE in_range({m})
{"" if m == _PARTS[-1] else "UNION ALL"}"""
    for m in _PARTS
)
_CLUSTERED = """
SELECT kept.*, coalesce(labels.cluster, kept.id) AS cluster
FROM (FROM kept WHERE in_range(id)) kept
LEFT JOIN (FROM labels WHERE in_range(id)) labels USING (id)
"""


class KeptSamples:
    """The kept samples, one row each, in the scratch table `kept`.

    Its columns are `number` (the order by drop, key and id, which does not depend on arrival),
    drop, id, key, image_id, text_id, audio_id, `row` (the row id in `samples`), `repair_text` and
    `cluster` (the smallest sample id of the cluster). If the policy repaired the caption, its new
    text is `repair_text`, and `text_id` is that of the new text.

    Attributes:
        scratch: the tables.
        count: the number of kept samples.
    """

    def __init__(self, scratch: ScratchTables):
        self.scratch = scratch
        self.count = scratch.count("kept")

    def having(self, column: str, values: Iterable[str]) -> pa.Table:
        """The kept samples with one of some values in a column, such as `image_id`, in order."""
        self.scratch.load("wanted", pa.table({column: pa.array(sorted(set(values)), pa.string())}))
        query = f"FROM kept SEMI JOIN wanted USING ({column}) ORDER BY number"
        rows = self.scratch.select(query, "kept")
        self.scratch.drop("wanted")
        return rows


@contextmanager
def kept_samples(workspace: Workspace, folder: Path) -> Iterator[KeptSamples]:
    """Read the kept samples and find their clusters.

    Args:
        workspace: the corpus.
        folder: where the file of a database is made.
    """
    tables, config = workspace.tables, workspace.config
    samples, decisions = (
        TableVersion(tables, name, tables.version(name)) for name in ("samples", "decisions")
    )
    columns = {c: c for c in _COLUMNS} | {"row": "_rowid"}
    present = decisions.open().schema.names
    decided = {
        c: c if c in present else "CAST(NULL AS STRING)"
        for c in ("drop", "id", "repair_text_id", "repair_text")
    }
    with scratch_tables(config.engine, folder, samples.open().count_rows()) as scratch:
        scratch.scan("stored", samples, columns)
        scratch.scan("decided", decisions, decided, "keep")
        scratch.create("joined", _JOINED, stored="id", decided="id")
        scratch.number("kept", "joined", ["drop", "key", "id"])
        scratch.drop("stored", "decided", "joined")
        cluster_samples(scratch)
        yield KeptSamples(scratch)


def cluster_samples(scratch: ScratchTables) -> None:
    """Add the column `cluster` to the table `kept`: the components of samples and their parts.

    Args:
        scratch: with the table `kept`, which has `id` and the ids of parts.
    """
    scratch.create("links", _LINKS, kept=_PARTS)
    label_components(scratch)
    scratch.create("kept", _CLUSTERED, kept="id", labels="id")
    scratch.drop("links", "labels")
