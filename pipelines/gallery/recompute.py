"""Compile a sample of a stored gallery's rows again, to find rows that differ from their inputs."""

from dataclasses import replace

import numpy as np
import pyarrow as pa

from pipelines.gallery.directions import Fitted
from pipelines.gallery.fitted_directions import read_fitted
from pipelines.gallery.rows import fit_rows
from pipelines.gallery.stage import gallery_spec
from store.arrow import as_rows
from store.tables.banks import Banks
from store.tables.lance_tables import Tables, one_of
from store.tables.names import bank_table, gallery_table, vectors_table
from store.tables.table_version import TableVersion

_TOLERANCE = 1e-4  # sums of another order differ by some 1e-6


def differing_rows(tables: Tables, space: str, modality: str, most: int) -> tuple[int, list[str]]:
    """Compare vectors and biases of random rows with those that follow from vectors and banks.

    Args:
        tables: of a corpus whose gallery is up to date.
        space: of the gallery.
        modality: of its items.
        most: compare at most so many rows.

    Returns:
        How many rows were compared, and the parts of those that differ, sorted.
    """
    gallery = tables.open_or_none(gallery_table(space, modality))
    fitted = read_fitted(tables, space)
    if gallery is None or not fitted or not (count := gallery.count_rows()):
        return 0, []
    vectors = TableVersion(tables, vectors_table(space), tables.version(vectors_table(space)))
    banks = Banks(tables.open(bank_table(space)).to_table())
    spec = replace(gallery_spec(modality, vectors, Fitted(fitted, {}), banks), queries={})
    names = [n for n in spec.fitted_schema.names if n.startswith(("vector", "bias"))]
    chosen = np.random.default_rng().choice(count, min(count, most), replace=False)
    stored = gallery.take(np.sort(chosen).tolist(), columns=["part_id", "cluster", *names])
    parts = stored["part_id"].to_pylist()
    rows = vectors.open().to_table(["part_id"], one_of("part_id", parts), with_row_id=True)
    row_of = dict(zip(rows["part_id"].to_pylist(), rows["_rowid"].to_pylist(), strict=True))
    has_vector = np.array([part in row_of for part in parts])
    differs = ~has_vector
    if has_vector.any():
        kept = stored.filter(pa.array(has_vector))
        vector_rows = pa.array([row_of[part] for part in kept["part_id"].to_pylist()], pa.uint64())
        inputs = pa.table({"vector_row": vector_rows, "cluster": kept["cluster"]})
        again = fit_rows(inputs, spec, vectors)
        off = [np.abs(as_rows(kept[n]) - as_rows(again[n])).max(axis=1) for n in names]
        differs[has_vector] = ~(np.max(off, axis=0) <= _TOLERANCE)
    return len(parts), sorted(np.array(parts)[differs].tolist())
