"""Statistics of a release's galleries: rows by drop, bytes, index, corrections and their gain."""

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow.compute as pc

from store.search.opened import OpenRelease
from store.tables.damage import detected

_GAIN = "mrr"  # the measure that corrections are chosen by


@dataclass(frozen=True)
class DirectionStatistics:
    """How queries of one modality are corrected, measured on test pairs.

    Attributes:
        method: the correction; "none" if raw scores were better.
        params: its parameters.
        raw: the mean reciprocal rank of raw scores. None without test pairs, as all figures.
        corrected: that of corrected scores.
        raw_skewness: the k-occurrence skewness of raw scores.
        corrected_skewness: that of corrected scores.
    """

    method: str
    params: dict[str, Any]
    raw: float | None
    corrected: float | None
    raw_skewness: float | None
    corrected_skewness: float | None


@dataclass(frozen=True)
class GalleryStatistics:
    """One gallery.

    Attributes:
        rows: parts.
        drops: how many of its rows each drop delivered. A part may be in several drops.
        bytes: of the files of its rows.
        index: flat (none), ivf_rq, ivf_hnsw_sq or ivf_pq.
        index_bytes: of the files of its index.
        directions: by modality of the queries.
    """

    rows: int
    drops: dict[str, int]
    bytes: int
    index: str
    index_bytes: int
    directions: dict[str, DirectionStatistics]


@dataclass(frozen=True)
class Statistics:
    """The galleries of a release, by modality.

    Attributes:
        release: its number.
        space: the name of its space.
        dim: the number of dimensions of the space.
        galleries: by modality.
    """

    release: int
    space: str
    dim: int
    galleries: dict[str, GalleryStatistics]

    def to_dict(self) -> dict[str, Any]:
        """The statistics as JSON values."""
        return asdict(self)

    def show(self) -> None:
        """Print the galleries and the directions as tables."""
        from rich.console import Console
        from rich.markup import escape
        from rich.table import Table

        console = Console()
        console.print(f"release {self.release}: space {escape(self.space)}, {self.dim} dimensions")
        galleries = Table("gallery", "rows", "MB", "index", "index MB", "rows by drop")
        directions = Table(
            "direction", "correction", "MRR raw", "corrected", "skewness raw", "corrected"
        )
        for modality, gallery in self.galleries.items():
            drops = ", ".join(f"{name} {count:,}" for name, count in gallery.drops.items())
            sizes = f"{gallery.bytes / 1e6:.1f}", gallery.index, f"{gallery.index_bytes / 1e6:.1f}"
            galleries.add_row(modality, f"{gallery.rows:,}", *sizes, escape(drops))
            for query, d in gallery.directions.items():
                measured = (d.raw, d.corrected, d.raw_skewness, d.corrected_skewness)
                values = ("" if value is None else f"{value:.3f}" for value in measured)
                directions.add_row(f"{query}->{modality}", d.method, *values)
        console.print(galleries)
        console.print(directions)


def describe_galleries(opened: OpenRelease) -> Statistics:
    """Measure the galleries of a release. Reads the column `drops` of all rows."""
    release = opened.release
    galleries = {modality: _gallery(opened, modality) for modality in release.modalities}
    return Statistics(release.number, release.space, release.dim, galleries)


def _gallery(opened: OpenRelease, modality: str) -> GalleryStatistics:
    gallery = opened.open_gallery(modality)
    table, release = gallery.table, opened.release
    drops: Counter[str] = Counter()
    with detected(table.uri, table.version):
        for batch in table.to_batches(columns=["drops"]):
            counted = pc.value_counts(pc.list_flatten(batch["drops"]))
            drops.update({pair["values"]: pair["counts"] for pair in counted.to_pylist()})
        files = [f for fragment in table.get_fragments() for f in fragment.metadata.files]
    directions = {
        direction.query: _direction(
            direction.method, direction.params, release.evaluation.get(name)
        )
        for name, direction in release.directions.items()
        if direction.gallery == modality
    }
    return GalleryStatistics(
        table.count_rows(),
        dict(sorted(drops.items())),
        sum(file.file_size_bytes or 0 for file in files),
        gallery.index.type,
        gallery.index.bytes,
        directions,
    )


def _direction(
    method: str, params: dict[str, Any], figures: dict[str, Any] | None
) -> DirectionStatistics:
    sides = [(figures or {}).get(side, {}) for side in ("raw", "corrected")]
    gain, skewness = ([side.get(key) for side in sides] for key in (_GAIN, "k_skewness"))
    return DirectionStatistics(method, params, *gain, *skewness)
