"""Takedown of a sample whose caption the policy gave to another sample."""

import tarfile
from pathlib import Path

import pyarrow as pa

from pipelines.takedown import takedown
from pipelines.takedown.selection import Selection
from store.tables import schema
from store.tables.lance_tables import Tables
from store.workspace import Workspace

STORED = Path(__file__).resolve().parents[2] / "data" / "corpus-format-1.tar.gz"
DONOR, REPAIRED = "red-0015", "red-0005"


def replace_rows(tables: Tables, name: str, key: str, changed: dict) -> None:
    """Change some columns of the rows whose id is `key`."""
    table = tables.open(name).to_table()
    rows = [row | changed if row["id"] == key else row for row in table.to_pylist()]
    assert any(row["id"] == key for row in rows)
    columns = schema.DECISIONS if name == "decisions" else table.schema.remove_metadata()
    batch = pa.RecordBatch.from_pylist(rows, schema=columns)
    tables.replace(name, columns, [batch], None)


def test_the_caption_is_gone_and_the_other_sample_stays(tmp_path: Path) -> None:
    with tarfile.open(STORED) as tar:
        tar.extractall(tmp_path, filter="data")
    corpus = Workspace.open(tmp_path)
    tables = corpus.tables
    samples = {r["key"]: r for r in tables.open("samples").to_table().to_pylist()}
    donor, other = samples[DONOR], samples[REPAIRED]
    repair = {
        "repair_text_id": donor["text_id"],
        "repair_text": donor["text"],
        "repair_from": donor["id"],
    }
    replace_rows(tables, "decisions", other["id"], repair)
    (image,) = (n for n in tables.names() if n.startswith("gallery") and n.endswith("image"))
    replace_rows(tables, image, other["id"], {"caption": donor["text"]})
    before = tables.open("decisions").count_rows()

    takedown.take_down(corpus, Selection(keys=frozenset([DONOR])))

    for path in Path(tables.root).rglob("*"):
        if path.is_file():
            assert donor["text"].encode() not in path.read_bytes(), path
    rows = {r["id"]: r for r in tables.open("decisions").to_table().to_pylist()}
    assert len(rows) == before - 1
    assert rows[other["id"]]["keep"]
    assert {rows[other["id"]][name] for name in repair} == {None}
    (row,) = tables.open(image).to_table(filter=f"id = '{other['id']}'").to_pylist()
    assert row["caption"] is None
