"""Connected components in scratch tables: which ids share parts, directly or through others."""

from pipelines.engine.scratch_tables import ScratchTables

_LABELS = "SELECT DISTINCT id, id AS cluster FROM links WHERE in_range(id)"
_EDGES = """
SELECT part, cluster
FROM (FROM links WHERE in_range(id)) JOIN (FROM labels WHERE in_range(id)) USING (id)
"""
# Each cluster is hooked to the smallest cluster that it shares a part with. At least half of the
# clusters that are not finished disappear, so there are few rounds.
_SMALLEST = """
WITH own AS (FROM edges WHERE in_range(part)),
  of_part AS (SELECT part, min(cluster) AS smallest FROM own GROUP BY part)
SELECT cluster, min(smallest) AS target FROM own JOIN of_part USING (part) GROUP BY cluster
"""
_HOOKS = """
SELECT cluster, min(target) AS target FROM smallest WHERE in_range(cluster) GROUP BY cluster
"""
# A target may be hooked itself: follow the targets, in steps of doubled length, to their end.
_FOLLOW = """
SELECT h.cluster, t.target, t.target < h.target AS moved
FROM (FROM hooks WHERE in_range(target)) h JOIN (FROM hooks WHERE in_range(cluster)) t
ON t.cluster = h.target
"""
_RELABEL = """
SELECT id, target AS cluster
FROM (FROM labels WHERE in_range(cluster)) JOIN (FROM hooks WHERE in_range(cluster))
USING (cluster)
"""


def label_components(scratch: ScratchTables) -> None:
    """Make the table `labels`: the component of each id, named by its smallest id.

    Args:
        scratch: with the table `links`: columns `id` and `part`. Ids that share a part are linked.
    """
    scratch.create("labels", _LABELS, links="id")
    while True:
        scratch.create("edges", _EDGES, links="id", labels="id")
        scratch.create("smallest", _SMALLEST, edges="part")
        scratch.create("hooks", _HOOKS, smallest="cluster")
        if not scratch.count("hooks", "target <> cluster"):
            scratch.drop("edges", "smallest", "hooks")
            return
        scratch.create("hooks", _FOLLOW, hooks=("target", "cluster"))
        while scratch.count("hooks", "moved"):
            scratch.create("hooks", _FOLLOW, hooks=("target", "cluster"))
        scratch.create("labels", _RELABEL, labels="cluster", hooks="cluster")
