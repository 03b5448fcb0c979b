"""A gallery read back as what it was compiled to: a correction that ranks it exactly."""

import lance
import numpy as np

from pipelines.choose import Gallery
from pipelines.embed import as_matrix
from store.corrections import Correction
from store.releases import Direction


def read_compiled(dataset: lance.LanceDataset, direction: Direction) -> tuple[Gallery, Correction]:
    """A gallery's items sorted by part id, and the correction of one direction fitted to them.

    The rows of both are the same: `Correction.rank` and `store.corrections.evaluate` give rows
    of `Gallery`. Everything is held in memory.
    """
    table = dataset.to_table(
        columns=["part_id", "vector", "cluster", f"bias_{direction.query}"]
    ).sort_by("part_id")
    gallery = Gallery(
        as_matrix(table["vector"]),
        table["cluster"].to_numpy(zero_copy_only=False).astype(str),
        table["part_id"].to_numpy(zero_copy_only=False).astype(str),
    )
    bias = table[f"bias_{direction.query}"].to_numpy()
    if direction.method == "none":
        bias = np.zeros_like(bias)
    return gallery, Correction(direction.method, direction.params, gallery.vectors, bias)
