"""Counts of duplicates by kind, and the clusters that the curation page shows.

Of each kind these are the clusters with the least similar duplicates, because they show first that
a threshold is too loose, and the largest clusters.
"""

from dataclasses import dataclass
from typing import NamedTuple

import duckdb

from pipelines.engine.duckdb_scratch import query_rows
from pipelines.reports.curation.column_statistics import SampleRef

_LEAST, _LARGEST, _MEMBERS = 4, 2, 5


class Kind(NamedTuple):
    """A kind of duplicates.

    Attributes:
        kind: its name.
        lost: samples removed.
        clusters: clusters that they are in.
        least: the least similarity to the representative.
        most: the greatest similarity to the representative.
    """

    kind: str
    lost: int
    clusters: int
    least: float
    most: float


@dataclass(frozen=True)
class Cluster:
    """A cluster of duplicates.

    Attributes:
        kind: of duplicates.
        name: the id of its representative, or the name of an evaluation sample.
        representative: the sample that is kept; None for an evaluation sample.
        lost: samples removed.
        shown: (similarity, sample) of some of them, the least similar first.
    """

    kind: str
    name: str
    representative: SampleRef | None
    lost: int
    shown: list[tuple[float, SampleRef]]

    @property
    def samples(self) -> list[SampleRef]:
        """The representative and the samples shown."""
        first = [self.representative] if self.representative else []
        return [*first, *(sample for _, sample in self.shown)]


_KINDS = """
SELECT kind, count(*) AS lost, count(DISTINCT cluster) AS clusters, min(similarity) AS least,
       max(similarity) AS most
FROM duplicates WHERE NOT representative {of_drop} GROUP BY kind ORDER BY lost DESC, kind
"""
_CLUSTERS = """
WITH found AS (
  SELECT kind, cluster, count(*) AS lost,
         min({{'similarity': similarity, 'drop': drop, 'id': id}}, {members}) AS shown
  FROM duplicates WHERE NOT representative {of_drop} GROUP BY kind, cluster),
chosen AS (
  FROM found QUALIFY
    row_number() OVER (PARTITION BY kind ORDER BY shown[1].similarity, cluster) <= {least}
    OR row_number() OVER (PARTITION BY kind ORDER BY lost DESC, cluster) <= {largest})
SELECT chosen.*, representatives.drop AS representative FROM chosen
LEFT JOIN (FROM duplicates WHERE representative) representatives
       ON representatives.kind = chosen.kind AND representatives.id = chosen.cluster
ORDER BY chosen.kind, shown[1].similarity, chosen.cluster
"""


def kinds(connection: duckdb.DuckDBPyConnection, drop: str | None) -> list[Kind]:
    """The kinds of duplicates in a drop (None: in all drops), the most frequent first.

    Args:
        connection: a database with the table `duplicates`.
        drop: the drop.
    """
    return [Kind(**row) for row in query_rows(connection, _KINDS.format(of_drop=_condition(drop)))]


def clusters(connection: duckdb.DuckDBPyConnection, drop: str | None) -> list[Cluster]:
    """The clusters to show of a drop (None: of all drops), by kind and similarity.

    Args:
        connection: a database with the table `duplicates`.
        drop: the drop.
    """
    query = _CLUSTERS.format(
        of_drop=_condition(drop), members=_MEMBERS, least=_LEAST, largest=_LARGEST
    )
    listed = []
    for row in query_rows(connection, query):
        drop_of = row["representative"]
        representative = (drop_of, row["cluster"]) if drop_of is not None else None
        shown = [(m["similarity"], (m["drop"], m["id"])) for m in row["shown"]]
        listed.append(Cluster(row["kind"], row["cluster"], representative, row["lost"], shown))
    return listed


def _condition(drop: str | None) -> str:
    # DuckDB's text literals are written like Lance's.
    return "" if drop is None else "AND drop = '" + drop.replace("'", "''") + "'"
