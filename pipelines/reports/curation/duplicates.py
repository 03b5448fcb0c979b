"""What duplicates were found: how many of each kind, and the clusters worth looking at.

Of each kind that are those whose least similar pair is the least, since a threshold that is too
loose shows there first, and the largest ones.
"""

from dataclasses import dataclass
from typing import NamedTuple

import duckdb

from pipelines.engine.duckdb_scratch import listed
from pipelines.reports.curation.column_statistics import SampleRef

_LEAST, _LARGEST, _MEMBERS = 4, 2, 5


class Kind(NamedTuple):
    """A kind of duplicates: samples lost, to how many others, how similar."""

    kind: str
    lost: int
    clusters: int
    least: float
    most: float


@dataclass(frozen=True)
class Cluster:
    """Some samples that were lost to another: (similarity, place), least similar first. `stands`
    is None where that one is an evaluation sample, of which only `name` is known."""

    kind: str
    name: str
    stands: SampleRef | None
    lost: int
    shown: list[tuple[float, SampleRef]]

    @property
    def places(self) -> list[SampleRef]:
        return [*([self.stands] if self.stands else []), *(place for _, place in self.shown)]


_KINDS = """
SELECT kind, count(*) AS lost, count(DISTINCT cluster) AS clusters, min(similarity) AS least,
       max(similarity) AS most
FROM duplicates WHERE NOT representative {here} GROUP BY kind ORDER BY lost DESC, kind
"""
_CLUSTERS = """
WITH found AS (
  SELECT kind, cluster, count(*) AS lost,
         min({{'similarity': similarity, 'drop': drop, 'id': id}}, {members}) AS shown
  FROM duplicates WHERE NOT representative {here} GROUP BY kind, cluster),
chosen AS (
  FROM found QUALIFY
    row_number() OVER (PARTITION BY kind ORDER BY shown[1].similarity, cluster) <= {least}
    OR row_number() OVER (PARTITION BY kind ORDER BY lost DESC, cluster) <= {largest})
SELECT chosen.*, stands.drop AS stands FROM chosen
LEFT JOIN (FROM duplicates WHERE representative) stands
       ON stands.kind = chosen.kind AND stands.id = chosen.cluster
ORDER BY chosen.kind, shown[1].similarity, chosen.cluster
"""


def kinds(connection: duckdb.DuckDBPyConnection, drop: str | None) -> list[Kind]:
    """Of a database with the table `duplicates`: what a drop (None: all) lost."""
    return [Kind(**row) for row in listed(connection, _KINDS.format(here=_here(drop)))]


def clusters(connection: duckdb.DuckDBPyConnection, drop: str | None) -> list[Cluster]:
    """Those in which a drop (None: any) lost samples."""
    query = _CLUSTERS.format(here=_here(drop), members=_MEMBERS, least=_LEAST, largest=_LARGEST)
    found = []
    for row in listed(connection, query):
        stands = (row["stands"], row["cluster"]) if row["stands"] is not None else None
        shown = [(m["similarity"], (m["drop"], m["id"])) for m in row["shown"]]
        found.append(Cluster(row["kind"], row["cluster"], stands, row["lost"], shown))
    return found


def _here(drop: str | None) -> str:
    # DuckDB's literals are written like Lance's.
    return "" if drop is None else "AND drop = '" + drop.replace("'", "''") + "'"
