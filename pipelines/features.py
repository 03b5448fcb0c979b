"""features: what frozen encoders make of parts, where a tower's vectors are a projection of it.

They are kept, so that another projection costs a matrix product and no model runs again.
"""

from embedders.registry import load
from embedders.spaces import Space
from pipelines.embed import fill, table_name
from store import identity, schema
from store.stage import begin
from store.workspace import Workspace


def source(space: Space, modality: str) -> tuple[str, str]:
    """The table and the encoder of a tower's vectors as they are before any projection."""
    if modality in space.aligned:
        return f"features__{space.name}__{modality}", space.aligned[modality].encoder
    return table_name(space.name), space.towers[modality]


def extract(workspace: Workspace, drop: str, space: Space, modality: str) -> None:
    """Make what is missing of a drop's features, or of its vectors where nothing is projected.

    Raises what `embed` raises. Parts that have none are in the ledger once the drop is embedded.
    """
    table, spec = source(space, modality)
    encoder = load(spec)
    columns = schema.vectors(encoder.dim)
    key = identity.run_key("features", table, drop, encoder.fingerprint)
    with begin(workspace.tables, table, key, columns, drop) as run:
        fill(workspace, run, drop, table, spec, modality)
        workspace.tables.upsert(table, columns, run.batches(rows=4096), "part_id")
        run.close()
