"""Reuse the last banks while the corpus grows, so that new samples cost what they cost.

All corrections are measured on the banks: banks that are drawn anew mean that everything is fitted
anew. The last banks are kept until one of these happens:

- their settings change;
- more than a tenth of their samples are no longer kept: a few queries of samples that left are
  still queries, and to draw anew would fit everything anew for every changed threshold;
- samples of the bank and of a held-out split now belong to one cluster;
- the corpus could fill a bank twice as large. So while rows arrive one by one, the number of fits
  grows with the logarithm of the number of rows.
"""

from collections.abc import Callable

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.decisions.kept_samples import KeptSamples
from store.errors import NotFoundError
from store.tables import schema
from store.tables.lance_tables import Tables

GROWTH = 2
MOST_LEFT = 0.1  # of the samples in the banks
HELD_OUT = ("validation", "test")


def last_banks(tables: Tables, name: str) -> pa.Table | None:
    """The rows of the table of banks without their vectors, or None if there is none yet."""
    try:
        dataset = tables.open(name)
    except NotFoundError:
        return None
    return dataset.to_table(columns=[c for c in dataset.schema.names if c != "vector"])


def write_clusters(tables: Tables, name: str, columns: pa.Schema, rows: pa.Table) -> None:
    """Write the last banks with other clusters.

    Args:
        tables: of the corpus.
        name: of the table of banks.
        columns: its schema.
        rows: as `reusable_banks` returns them.
    """
    last = tables.open(name).to_table()
    clusters = last.set_column(last.schema.get_field_index("cluster"), "cluster", rows["cluster"])
    tables.replace(name, columns, clusters.cast(last.schema).to_batches(), None)


def reusable_banks(
    last: pa.Table | None,
    draw_key: str,
    samples: KeptSamples,
    most: int,
    bank_size: Callable[[], int],
) -> pa.Table | None:
    """The last banks with the current clusters, or None if banks have to be drawn anew.

    Args:
        last: rows of `banks__{space}` (`last_banks`).
        draw_key: the hash of the current settings, as stored in the column `draw`.
        samples: kept samples (`pipelines.decisions.kept_samples`).
        most: pairs of a bank.
        bank_size: returns the number of pairs that a bank drawn now would have. It is not called if
            no bank is so much larger.
    """
    if last is None or not last.num_rows or "draw" not in last.schema.names:
        return None
    if pc.unique(last["draw"]).to_pylist() != [draw_key]:
        return None
    of_corpus = pc.equal(last["origin"], "corpus").to_pylist()
    splits, ids = last["split"].to_pylist(), last["sample_id"].to_pylist()
    bank_ids = {i for i, split in zip(ids, splits, strict=True) if split == "bank"}
    by_sample = _clusters(samples, "id", ids)
    own_ids = {i for mine, i in zip(of_corpus, ids, strict=True) if mine}
    has_changed = len(own_ids - by_sample.keys()) > MOST_LEFT * len(own_ids)
    outgrown = GROWTH * len(bank_ids)
    if has_changed or (most >= outgrown and bank_size() >= outgrown):
        return None
    by_part: dict[str, str] = {}
    for modality in schema.MODALITIES:
        by_part |= _clusters(samples, f"{modality}_id", last["part_id"].to_pylist())
    clusters = [
        by_sample.get(i, last_cluster) if mine else by_part.get(part, last_cluster)
        for mine, i, part, last_cluster in zip(
            of_corpus, ids, last["part_id"].to_pylist(), last["cluster"].to_pylist(), strict=True
        )
    ]
    sides: dict[str, str] = {}
    for split, cluster in zip(splits, clusters, strict=True):
        pairs = split.removesuffix("_queries")
        side = pairs if pairs in HELD_OUT else "bank"
        if sides.setdefault(cluster, side) != side:  # a bank would contain what it is tested with
            return None
    column = last.schema.get_field_index("cluster")
    return last.set_column(column, last.schema.field("cluster"), pa.array(clusters, pa.string()))


def _clusters(samples: KeptSamples, column: str, values: list[str]) -> dict[str, str]:
    """The clusters of the samples that have one of some values in a column, by value."""
    rows = samples.having(column, values)
    return dict(zip(rows[column].to_pylist(), rows["cluster"].to_pylist(), strict=True))
