"""`isotrope check --deep` compiles rows of galleries again, and finds values that do not follow."""

import lance
import pyarrow as pa
import pytest

from assets.table_checks import gallery_compiles_again
from pipelines.gallery.recompute import differing_rows
from store.tables import schema
from store.tables.stages import EVERY_DROP
from store.workspace import Workspace

GALLERY, MOST = "gallery__colours__image", 10_000


@pytest.mark.parametrize("column", ["bias_text", "vector"])
def test_a_row_that_does_not_follow_from_its_inputs(
    squares_with_checksums: Workspace, column: str
) -> None:
    corpus, tables = squares_with_checksums, squares_with_checksums.tables
    for modality in ("image", "text"):
        count, parts = differing_rows(tables, "colours", modality, MOST)
        assert count == tables.open(f"gallery__colours__{modality}").count_rows()
        assert parts == []
    assert gallery_compiles_again(corpus, EVERY_DROP)[1] == []

    rows = tables.open(GALLERY).to_table()
    field = rows.schema.field(column)
    vector = [0.0] * schema.served_width(16)
    first = pa.array([vector if column == "vector" else 0.125], field.type)
    changed = pa.concat_arrays([first, rows[column].combine_chunks().slice(1)])
    rows = rows.set_column(rows.schema.get_field_index(column), field, changed)
    lance.write_dataset(rows, tables.uri(GALLERY), mode="overwrite")
    _, parts = differing_rows(tables, "colours", "image", MOST)
    assert parts == [rows["part_id"][0].as_py()]
    (_, parts) = differing_rows(tables, "colours", "image", 1)
    assert len(parts) <= 1
