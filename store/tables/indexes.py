"""How the galleries of a release are indexed, and how search must probe the indexes."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import pyarrow as pa

from store.tables.lance_tables import Tables
from store.tables.names import indexes_table

FLAT = "flat"
DEEPEST = 1_000  # rows of a result that an index is measured for
SCHEMA = pa.schema(
    [pa.field("gallery", pa.string(), False), pa.field("detail", pa.string(), False)]
)


@dataclass(frozen=True)
class Probe:
    """How an index is searched so that results of up to `depth` rows reach the bound.

    Attributes:
        depth: the largest number of rows that the setting was chosen for.
        nprobes: partitions that are searched.
        refine: so many times the requested rows are ranked anew by exact scores.
        recall: recall@depth against the exact ranking, on other queries than those it was chosen
            on.
        milliseconds: the median time of a search.
    """

    depth: int
    nprobes: int
    refine: int
    recall: float
    milliseconds: float


@dataclass(frozen=True)
class GalleryIndex:
    """The index of one gallery.

    Attributes:
        type: flat (none), ivf_rq, ivf_hnsw_sq or ivf_pq.
        rows: of the gallery.
        partitions: of the index.
        bytes: of the index files.
        seconds: that the build took.
        bound: the smallest recall that was asked for.
        flat_milliseconds: the median time of an exact scan.
        probes: by direction and kind of score (such as "text->image corrected"), in the order of
            `depth`. Where a depth is missing, the bound was not reached, and search scans.
        notes: remarks, such as that a bound was not reached.
        changed: rows that came or left since `probes` were measured.
    """

    type: str = FLAT
    rows: int = 0
    partitions: int = 0
    bytes: int = 0
    seconds: float = 0.0
    bound: float = 1.0
    flat_milliseconds: float = 0.0
    probes: Mapping[str, tuple[Probe, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    changed: int = 0

    def probe(self, names: Iterable[str], count: int) -> Probe | None:
        """The setting for a search of `count` rows.

        Args:
            names: of the directions and kinds of score of the query's inputs.
            count: rows.

        Returns:
            The widest setting that these need, with the lowest recall of them. None: scan.
        """
        chosen = [
            next((p for p in self.probes.get(name, ()) if p.depth >= count), None) for name in names
        ]
        known = [p for p in chosen if p is not None]
        if not known or len(known) < len(chosen):
            return None
        return Probe(
            depth=min(p.depth for p in known),
            nprobes=max(p.nprobes for p in known),
            refine=max(p.refine for p in known),
            recall=min(p.recall for p in known),
            milliseconds=max(p.milliseconds for p in known),
        )


def moments_index(modality: str) -> str:
    """The name of the index of the moments of a modality; that of a gallery is its modality."""
    return f"{modality} moments"


def probe_name(query: str, gallery: str, corrected: bool) -> str:
    """The name of a direction and kind of score, such as "text->image corrected"."""
    return f"{query}->{gallery} {'corrected' if corrected else 'raw'}"


def describe(indexes: Mapping[str, GalleryIndex]) -> dict[str, Any]:
    """The indexes of a release as JSON values, by name: see `moments_index`."""
    return {modality: asdict(index) for modality, index in indexes.items()}


def from_description(described: Mapping[str, Any]) -> dict[str, GalleryIndex]:
    """Undo `describe`."""
    return {modality: _index(value) for modality, value in described.items()}


def write_indexes(tables: Tables, space: str, indexes: Mapping[str, GalleryIndex]) -> None:
    """Replace the rows of the table `indexes__{space}`."""
    rows = [{"gallery": m, "detail": json.dumps(asdict(i))} for m, i in indexes.items()]
    batches = pa.Table.from_pylist(rows, schema=SCHEMA).to_batches()
    tables.replace(indexes_table(space), SCHEMA, batches, None)


def read_indexes(tables: Tables, space: str) -> dict[str, GalleryIndex]:
    """The indexes of the stored galleries and moments, by name: see `moments_index`."""
    rows = tables.scan(indexes_table(space), SCHEMA).to_pylist()
    return {row["gallery"]: _index(json.loads(row["detail"])) for row in rows}


def _index(value: dict[str, Any]) -> GalleryIndex:
    probes = {n: tuple(Probe(**p) for p in chosen) for n, chosen in value["probes"].items()}
    return GalleryIndex(**{**value, "probes": probes, "notes": tuple(value["notes"])})
