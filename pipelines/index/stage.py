"""Index galleries and moments: a vector index for each column that search reads, full text, ids.

An index gets a segment for the rows that are new, or is built anew. Until then, rows that are not
in an index are scanned beside it. How it is probed is kept where it still reaches the bound.
"""

from pipelines.gallery.fitted_directions import read_fitted
from pipelines.index.build import index_gallery
from pipelines.stages import run_keys
from pipelines.stages.context import StageContext
from store.tables.banks import Banks
from store.tables.indexes import (
    SCHEMA,
    GalleryIndex,
    moments_index,
    read_indexes,
    write_indexes,
)
from store.tables.names import bank_table, gallery_table, moments_table
from store.tables.staging import Counts, begin, publish

STAGE = "index"


def index_galleries(context: StageContext) -> Counts:
    """Index the galleries of the space's modalities.

    Returns:
        Counts of the parts in the galleries.

    Raises:
        NotFoundError: there are no galleries or banks yet.
    """
    tables, space = context.tables, context.space
    key = run_keys.index(context)
    with begin(tables, context.name_of(STAGE), key, SCHEMA) as run:
        banks = Banks(tables.open(bank_table(space.name)))
        directions = {name: f.direction for name, f in read_fitted(tables, space.name).items()}
        last = {} if context.forced else read_indexes(tables, space.name)
        indexes: dict[str, GalleryIndex] = {}
        settings = context.config.index

        def index(entry: str, name: str, modality: str, texts: bool = True) -> None:
            searching = {n: d for n, d in directions.items() if d.gallery == modality}
            indexes[entry] = index_gallery(
                tables, name, modality, searching, banks, settings, last.get(entry), texts
            )

        for modality in sorted(space.towers):
            index(modality, gallery_table(space.name, modality), modality)
        rows = sum(each.rows for each in indexes.values())
        for modality in context.config.moments.options if context.config.moments else ():
            name = moments_table(space.name, modality)
            if tables.exists(name):
                index(moments_index(modality), name, modality, texts=False)
        return publish(
            tables,
            run,
            counts=Counts(rows, rows),
            entries=[],
            write=lambda: write_indexes(tables, space.name, indexes),
            output=lambda: key,
        )
