"""The `index:` section of corpus.yaml: how galleries are indexed for search."""

from typing import Annotated, Literal

from pydantic import Field

from store.config.section import PositiveInt, Section

# A flat scan of so many rows of 512 dimensions takes about 40 ms on two cores: less than it costs
# to build an index and to choose its settings.
FLAT_ROWS = 20_000


class Index(Section):
    """How galleries are indexed.

    Attributes:
        type: `auto` is `flat` (no index, exact) for galleries with at most `flat_rows` rows, and
            `ivf_rq` above. The others are always built.
        flat_rows: see `type`.
        partitions: of the index. Default: one for about 256 rows, at most 4096; for `ivf_hnsw_sq`,
            whose partitions are graphs, one for about 20,000 rows.
        recall: the smallest recall@10 against the exact ranking. Where an index does not reach it,
            search scans the whole gallery.
    """

    type: Literal["auto", "flat", "ivf_rq", "ivf_hnsw_sq", "ivf_pq"] = "auto"
    flat_rows: PositiveInt = FLAT_ROWS
    partitions: PositiveInt | None = None
    recall: Annotated[float, Field(gt=0, le=1)] = 0.99

    def type_for(self, rows: int) -> str:
        """The type for a gallery of so many rows."""
        if self.type != "auto":
            return self.type
        return "flat" if rows <= self.flat_rows else "ivf_rq"

    def partitions_for(self, kind: str, rows: int) -> int:
        """The number of partitions of an index of a type over so many rows."""
        members = 20_000 if kind == "ivf_hnsw_sq" else 256
        wanted = self.partitions or min(4096, rows // members)
        return max(1, min(wanted, rows // 2))
