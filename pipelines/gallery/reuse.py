"""What a new gallery takes over from the last one, so that adding parts costs what they cost.

The fitted values of a part depend on its vector, its cluster, the banks and the corrections. They
are reused if none of these changed.
"""

import lance
import pyarrow as pa

from pipelines.gallery.fitted_directions import FittedDirection
from store.errors import NotFoundError
from store.tables.banks import Banks
from store.tables.lance_tables import Tables
from store.tables.names import bank_table


def mark_reusable(
    parts: pa.Table, last: lance.LanceDataset | None, changed_clusters: set[str] | None
) -> pa.Table:
    """Add to each part its row in the last gallery, and whether the fitted values in it are valid.

    Args:
        parts: as `gallery_parts` returns them.
        last: the last gallery; None if there is none.
        changed_clusters: clusters whose fitted values are no longer valid; None if no fitted value
            is valid.

    Returns:
        `parts` with two more columns: `last_row` (uint64 row id, null for a part that is new) and
        `same` (bool: its cluster is the same as in the last gallery, and not a changed one).
    """
    last_rows: dict[str, tuple[int, str]] = {}
    if last is not None:
        table = last.to_table(columns=["part_id", "cluster"], with_row_id=True)
        columns = (table[c].to_pylist() for c in ("part_id", "_rowid", "cluster"))
        last_rows = {part: (row, cluster) for part, row, cluster in zip(*columns, strict=True)}
    matches = [last_rows.get(part) for part in parts["part_id"].to_pylist()]
    same = [
        changed_clusters is not None
        and match is not None
        and match[1] == cluster
        and cluster not in changed_clusters
        for match, cluster in zip(matches, parts["cluster"].to_pylist(), strict=True)
    ]
    rows = [None if match is None else match[0] for match in matches]
    parts = parts.append_column("last_row", pa.array(rows, pa.uint64()))
    return parts.append_column("same", pa.array(same, pa.bool_()))


def changed_clusters(
    tables: Tables,
    space: str,
    modality: str,
    fitted: dict[str, FittedDirection],
    last: dict[str, FittedDirection],
    banks: Banks,
) -> set[str] | None:
    """The clusters that hold other rows of the banks than when the last gallery was fitted.

    Masking goes by cluster, so the values of all parts in such a cluster have to be fitted anew.

    Args:
        modality: of the gallery.
        fitted: the directions of the new galleries.
        last: the directions of the last galleries, as they were stored.

    Returns:
        None if no value can be reused: a direction of this gallery was fitted anew, or the banks
        of the last gallery are no longer stored.
    """
    mine = {name: f for name, f in fitted.items() if f.direction.gallery == modality}
    if any(name not in last or last[name].fit_key != f.fit_key for name, f in mine.items()):
        return None
    version = next(iter(last.values())).banks_version
    columns = ["modality", "part_id", "cluster"]
    try:
        last_banks = tables.open(bank_table(space), version).to_table(columns)
    except NotFoundError:
        return None
    last_rows, rows = (
        set(zip(*table.select(columns).to_pydict().values(), strict=True))
        for table in (last_banks, banks.table)
    )
    return {cluster for _, _, cluster in last_rows ^ rows}
