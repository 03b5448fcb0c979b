"""Read a stored gallery as a fitted correction that ranks it exactly as search does."""

import lance
import numpy as np

from pipelines.banks.labelled_queries import Gallery
from store.arrow import as_matrix
from store.corrections import Correction
from store.search.vector_layout import unfold
from store.tables.releases import Direction


def read_compiled(
    dataset: lance.LanceDataset, direction: Direction, dim: int
) -> tuple[Gallery, Correction]:
    """A gallery's items, sorted by part id, and the correction of one direction fitted to them.

    Row i of both is the same item. So the rows that `Correction.rank` returns, and those that
    `store.corrections.evaluate` takes, are rows of `Gallery`. Everything is held in memory.

    Args:
        dataset: the gallery's table.
        direction: one of its directions.
        dim: of the space's vectors.
    """
    m, recipe = direction.query, direction.recipe
    columns = ["part_id", "vector", "cluster", f"bias_{m}", f"hub_{m}"]
    moved = [f"vector_{m}"] if recipe.moves else []
    table = dataset.to_table(columns=columns + moved).sort_by("part_id")
    gallery = Gallery(
        unfold(as_matrix(table["vector"]), dim),
        table["cluster"].to_numpy(zero_copy_only=False).astype(str),
        table["part_id"].to_numpy(zero_copy_only=False).astype(str),
    )
    bias = table[f"bias_{m}"].to_numpy()
    if direction.method == "none":  # a release may be raw although a correction is compiled in
        bias = np.zeros_like(bias)
    vectors = unfold(as_matrix(table[moved[0]]), dim) if moved else gallery.vectors
    flag = table[f"hub_{m}"].to_numpy() if recipe.dynamic else None
    return gallery, Correction(direction.method, direction.params, vectors, bias, flag)
