"""Fills a table beside the table of vectors, such as token vectors, by another run of the encoder.

It is filled by difference, as vectors are. A part that cannot be encoded has its vector alone.
"""

from dataclasses import replace

import pyarrow as pa

from embedders.pool.one_process import EncodingProcess
from embedders.registry import load_encoder
from pipelines.vectors.encode_parts import MakeRows, encode_parts
from store import identity
from store.tables.staging import Entry, begin
from store.workspace import Workspace


def fill_beside_vectors(
    workspace: Workspace,
    drop: str,
    kind: str,
    table: str,
    columns: pa.Schema,
    spec: str,
    process: EncodingProcess,
    make_rows: MakeRows,
    rows: int,
) -> list[Entry]:
    """Make the missing rows of a drop.

    Args:
        kind: of the table, as in `tokens`; the rules in the ledger begin with it.
        table: its name.
        columns: its schema.
        spec: of the encoder.
        process: that few parts are encoded in.
        make_rows: see `encode_parts`.
        rows: that are written at a time.

    Returns:
        The parts that could not be encoded, for the ledger: `unmeasured`, since they have a vector.
    """
    encoder = load_encoder(spec)
    key = identity.run_key(kind, table, drop, encoder.fingerprint)
    with begin(workspace.tables, table, key, columns, drop) as run:
        encode_parts(workspace, run, drop, table, spec, encoder.modality, process, make_rows)
        batches = run.batches(rows=rows)
        workspace.tables.upsert(table, columns, batches, "part_id", other_width=True)
        failed = [
            replace(entry, rule=f"{kind}.{entry.rule}", outcome="unmeasured")
            for entry in run.entries()
        ]
        run.close()
    return failed
