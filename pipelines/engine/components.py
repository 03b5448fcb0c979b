"""Connected components in a scratch database: which ids share parts, directly or through others."""

import duckdb

from pipelines.engine.duckdb_scratch import query_value

_LABELS = "CREATE OR REPLACE TABLE labels AS SELECT DISTINCT id, id AS cluster FROM links"
# Each cluster is hooked to the smallest cluster that it shares a part with. At least half of the
# clusters that are not finished disappear, so there are few rounds.
_HOOKS = """
CREATE OR REPLACE TABLE hooks AS
WITH of_part AS (
  SELECT part, min(cluster) AS smallest FROM links JOIN labels USING (id) GROUP BY part
)
SELECT cluster, min(smallest) AS target
FROM links JOIN labels USING (id) JOIN of_part USING (part) GROUP BY cluster
"""
# A target may be hooked itself: follow the targets, in steps of doubled length, to their end.
_FOLLOW = """
CREATE OR REPLACE TABLE hooks AS
SELECT h.cluster, t.target FROM hooks h JOIN hooks t ON t.cluster = h.target
"""
_UNFINISHED = (
    "SELECT count(*) FROM hooks h JOIN hooks t ON t.cluster = h.target AND t.target < h.target"
)
_RELABEL = """
CREATE OR REPLACE TABLE labels AS
SELECT id, target AS cluster FROM labels JOIN hooks USING (cluster)
"""


def label_components(connection: duckdb.DuckDBPyConnection) -> None:
    """Make the table `labels`: the component of each id, named by its smallest id.

    Args:
        connection: to a database with the table `links`: columns `id` and `part`. Ids that share a
            part are linked.
    """
    connection.execute(_LABELS)
    while True:
        connection.execute(_HOOKS)
        if not query_value(connection, "SELECT count(*) FROM hooks WHERE target <> cluster"):
            return
        while query_value(connection, _UNFINISHED):
            connection.execute(_FOLLOW)
        connection.execute(_RELABEL)
