"""Read a stored gallery as a fitted correction that ranks it exactly as search does."""

import lance
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.banks.labelled_queries import Gallery
from store.arrow import as_matrix
from store.corrections import Correction
from store.search.vector_layout import unfold
from store.tables.direction import Direction
from store.tables.table_version import take_rows


def read_compiled(
    dataset: lance.LanceDataset, direction: Direction, dim: int, parts: pa.Array | None = None
) -> tuple[Gallery, Correction]:
    """A gallery's items, sorted by part id, and the correction of one direction fitted to them.

    Row i of both is the same item. So the rows that `Correction.rank` returns, and those that
    `store.corrections.evaluate` takes, are rows of `Gallery`. Everything is held in memory.

    Args:
        dataset: the gallery's table.
        direction: one of its directions.
        dim: of the space's vectors.
        parts: the ids of the parts to read. None: all.
    """
    columns = compiled_columns(direction)
    if parts is None:
        table = dataset.to_table(columns=columns)
    else:
        table = take_rows(dataset, _row_ids(dataset, parts), columns)
    return compiled(table.sort_by("part_id"), direction, dim)


def compiled_columns(direction: Direction) -> list[str]:
    """The columns of a gallery that `compiled` needs."""
    m = direction.query
    moved = [f"vector_{m}"] if direction.recipe.moves else []
    return ["part_id", "vector", "cluster", f"bias_{m}", f"hub_{m}", *moved]


def compiled(table: pa.Table, direction: Direction, dim: int) -> tuple[Gallery, Correction]:
    """As `read_compiled`, of rows of a gallery that were read.

    Args:
        table: n rows with `compiled_columns`, sorted by part id.
        direction: one of the gallery's directions.
        dim: of the space's vectors.
    """
    m, recipe = direction.query, direction.recipe
    gallery = Gallery(
        unfold(as_matrix(table["vector"]), dim),
        table["cluster"].to_numpy(zero_copy_only=False).astype(str),
        table["part_id"].to_numpy(zero_copy_only=False).astype(str),
    )
    bias = table[f"bias_{m}"].to_numpy()
    if direction.method == "none":  # a release may be raw although a correction is compiled in
        bias = np.zeros_like(bias)
    moves = recipe.moves
    vectors = unfold(as_matrix(table[f"vector_{m}"]), dim) if moves else gallery.vectors
    flag = table[f"hub_{m}"].to_numpy() if recipe.dynamic else None
    return gallery, Correction(direction.method, direction.params, vectors, bias, flag)


def _row_ids(dataset: lance.LanceDataset, parts: pa.Array) -> list[int]:
    batches = dataset.scanner(columns=["part_id"], with_row_id=True).to_batches()
    rows = [b["_rowid"].filter(pc.is_in(b["part_id"], value_set=parts)).to_numpy() for b in batches]
    return np.concatenate([np.empty(0, np.uint64), *rows]).tolist()
