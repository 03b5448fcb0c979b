"""Find the near-duplicates of every kind that corpus.yaml turns on, as pairs of nodes.

A node is what is compared: a distinct image, recording or text (for `semantic`, its vector), named
by its part id. If there are new nodes, the hashes, fingerprints, signatures or vectors of all are
read into scratch files (`pipelines.engine.array_files`). Each search is a list of tasks, which
compare blocks of bounded size. They run as Ray tasks if there are many new nodes, else in this
process.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import ray

from embedders.pool.ray_cluster import cluster
from pipelines.duplicates import audio, incremental, semantic
from pipelines.duplicates.contents import (
    Images,
    Recordings,
    Texts,
    hashes_of_crops,
    read_column,
)
from pipelines.duplicates.evaluation_sets import QUALITY
from pipelines.duplicates.images import copies, crops
from pipelines.duplicates.incremental import Find, Nodes
from pipelines.duplicates.pair_joins import Block
from pipelines.duplicates.sample_facts import PARTS, is_compared
from pipelines.duplicates.texts import near_texts
from pipelines.duplicates.texts.stored_signatures import stored_signatures
from pipelines.engine.duckdb_scratch import ROWS, create_by_range, execute
from pipelines.engine.shared_rows import share
from pipelines.signals.scorers.image_copies import CROPS
from pipelines.stages.context import StageContext
from store import identity
from store.arrow import as_matrix
from store.config.duplicates import CROPS_VERSION
from store.tables.lance_tables import quote
from store.tables.names import vectors_table
from store.tables.table_version import TableVersion

VERSION = 3  # of the searches: raise it if the same samples would give other pairs
# Processor seconds that a search takes for each new node, roughly.
_SECONDS = {"image": 6e-4, "crops": 3e-2, "audio": 2e-3, "text": 6e-5, "semantic": 5e-4}
_WORTH = 20.0  # seconds of searches that are worth starting Ray for
_WORTH_CONNECTED = 4.0  # the same, if this process is connected to Ray already


@dataclass(frozen=True)
class NearParts:
    """The near pairs of one kind of comparison.

    Attributes:
        kind: the name of the kind.
        part: image, audio or text: what is compared.
        where: an SQL condition for the samples in `facts` that are compared.
        pairs: the name of a table with the columns a, b and similarity: near parts, by their ids.
    """

    kind: str
    part: str
    where: str
    pairs: str


def find_near(
    context: StageContext, connection: duckdb.DuckDBPyConnection, folder: Path
) -> list[NearParts]:
    """The near pairs of each kind that is on.

    Args:
        context: of the stage.
        connection: to a database with the table `facts` (`sample_facts.add_facts`).
        folder: for scratch files.
    """
    with ExitStack() as stack:
        return _find_near(context, connection, folder, stack)


def _find_near(
    context: StageContext, connection: duckdb.DuckDBPyConnection, folder: Path, stack: ExitStack
) -> list[NearParts]:
    settings, tables = context.config.duplicates, context.tables
    compared = {part: is_compared(part, settings.parts == "first") for part in PARTS}
    results = list[NearParts]()

    def use_ray(kind: str, nodes: Nodes) -> bool:
        """Whether the tasks of a search run on Ray, which is then connected until all ended."""
        worth = _WORTH_CONNECTED if ray.is_initialized() else _WORTH
        if (nodes.count - nodes.first) * _SECONDS[kind] <= worth:
            return False
        stack.enter_context(cluster(context.config.engine.ray.address))
        return True

    def add(
        kind: str, part: str, where: str, of_search: object, find: Find, embedded: str = "true"
    ) -> None:
        create_nodes(connection, part, f"{where} AND {embedded}")
        key = identity.run_key(kind, VERSION, of_search)
        incremental.near_pairs(tables, connection, folder, kind, key, find)
        pairs = f"near_{len(results)}"
        connection.execute(f"ALTER TABLE near RENAME TO {pairs}")
        results.append(NearParts(kind.partition(":")[0], part, where, pairs))

    if (radius := settings.image) is not None:

        def find_images(nodes: Nodes) -> Iterator[pa.Table]:
            on_ray = use_ray("image", nodes)
            images = Images(tables, share(nodes.rows("measured"), on_ray))
            hashes = [nodes.file(f"hashes-{n}", 32, np.uint8) for n in range(CROPS)]
            hashes_of_crops(tables, hashes, nodes.in_order("measured"))
            blocks = copies.near_blocks(
                nodes.connection, hashes, images.thumbnails, radius, nodes.first, on_ray=on_ray
            )
            return map(as_table, blocks)

        where = f"{compared['image']} AND image_pdq_quality >= {QUALITY}"
        add("image", "image", where, (radius, QUALITY), find_images)
    if (same := settings.crops) is not None:

        def find_crops(nodes: Nodes) -> Iterator[pa.Table]:
            on_ray = use_ray("crops", nodes)
            images, order = Images(tables, share(nodes.rows("measured"), on_ray)), nodes.ranks()
            blocks = crops.near_blocks(
                order, images.features, images.views, same, nodes.first, on_ray=on_ray
            )
            return map(as_table, blocks)

        add("crops", "image", compared["image"], (same, CROPS_VERSION), find_crops)
    if (least_equal := settings.audio) is not None:

        def find_audio(nodes: Nodes) -> Iterator[pa.Table]:
            on_ray = use_ray("audio", nodes)
            read = Recordings(tables, share(nodes.rows("measured"), on_ray))
            blocks = audio.near_blocks(
                read, nodes.count, least_equal, nodes.folder, nodes.first, on_ray=on_ray
            )
            return map(as_table, blocks)

        where = f"{compared['audio']} AND has_fingerprint"
        add("audio", "audio", where, least_equal, find_audio)
    if (jaccard := settings.text) is not None:

        def find_texts(nodes: Nodes) -> Iterator[pa.Table]:
            on_ray = use_ray("text", nodes)
            texts = Texts(tables, share(nodes.rows("row"), on_ray))
            signed = stored_signatures(tables, nodes, texts, on_ray=on_ray)
            scratch = nodes.connection, nodes.folder
            blocks = near_texts.near_blocks(
                *scratch, signed, texts, jaccard, nodes.first, on_ray=on_ray
            )
            return map(as_table, blocks)

        add("text", "text", compared["text"], jaccard, find_texts)
    if settings.semantic is not None:
        for part in sorted(context.space.towers):
            embedded = f"{part}_id IN (SELECT part_id FROM embedded)"
            _load_embedded(context, connection, part)
            find = _find_semantic(context, settings.semantic, use_ray)
            of_search = settings.semantic, context.space.name, context.fingerprints[part]
            add(f"semantic:{part}", part, compared[part], of_search, find, embedded)
    return results


def create_nodes(connection: duckdb.DuckDBPyConnection, part: str, where: str) -> None:
    """Make the table `nodes`: the distinct parts of the samples of a condition.

    Its columns are node, the part id, and `row` and `measured` of the first sample that has it.

    Args:
        connection: to a database with the table `facts`.
        part: image, audio or text.
        where: an SQL condition for `facts`.
    """
    first = ", ".join(f'arg_min("{column}", id) AS "{column}"' for column in ("row", "measured"))
    query = (
        f"SELECT {part}_id AS node, {first} FROM facts"
        f" WHERE ({where}) AND in_range({part}_id) GROUP BY {part}_id"
    )
    create_by_range(connection, "nodes", query, "facts")


def as_table(block: Block) -> pa.Table:
    """Pairs as `incremental.Find` returns them."""
    a, b, similarity = block
    columns = [pa.array(a), pa.array(b), pa.array(similarity, pa.float32())]
    return pa.table(columns, ["a", "b", "similarity"])


def _load_embedded(context: StageContext, connection: duckdb.DuckDBPyConnection, part: str) -> None:
    """Make the table `embedded`: the parts with vectors of the current encoder, with row ids."""
    vectors = context.tables.open(vectors_table(context.space.name)).scanner(
        columns={"part_id": "part_id", "vector_row": "_rowid"},
        filter=f"encoder = {quote(context.fingerprints[part])}",
        batch_size=ROWS,
    )
    query = "CREATE OR REPLACE TABLE embedded AS FROM vectors"
    execute(connection, query, vectors=vectors.to_reader())


def _find_semantic(
    context: StageContext, threshold: float, use_ray: Callable[[str, Nodes], bool]
) -> Find:
    tables, name = context.tables, vectors_table(context.space.name)

    def find(nodes: Nodes) -> Iterator[pa.Table]:
        table = TableVersion(tables, name, tables.version(name))
        dim = table.open().schema.field("vector").type.list_size
        vectors = nodes.file("vectors", dim, np.float32)
        blocks = nodes.in_order("vector_row", "JOIN embedded ON part_id = node")
        for positions, column in read_column(table, blocks, "vector"):
            vectors[positions] = as_matrix(column)
        on_ray = use_ray("semantic", nodes)
        near = semantic.near_blocks(vectors, threshold, nodes.folder, nodes.first, on_ray=on_ray)
        return map(as_table, near)

    return find
