"""Which fitted values of the last gallery are still valid: adding parts costs what they cost.

The fitted values of a part depend on its vector, its cluster, the banks and the corrections. They
are reused if none of these changed.
"""

from pipelines.gallery.fitted_directions import FittedDirection
from store.errors import NotFoundError
from store.tables.banks import Banks
from store.tables.lance_tables import Tables
from store.tables.names import bank_table


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
    version, name = next(iter(last.values())).banks_version, bank_table(space)
    if version == tables.version(name):
        return set()
    columns = ["modality", "part_id", "cluster"]
    try:
        last_banks = tables.open(name, version).to_table(columns)
    except NotFoundError:
        return None
    last_rows, rows = (
        set(zip(*table.to_pydict().values(), strict=True))
        for table in (last_banks, banks.select(columns))
    )
    return {cluster for _, _, cluster in last_rows ^ rows}
