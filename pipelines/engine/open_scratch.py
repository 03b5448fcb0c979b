"""Open scratch tables: in a database of this process, or on the nodes of a Ray cluster."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from pipelines.engine.duckdb_scratch import database
from pipelines.engine.scratch_tables import DuckDBTables, ScratchTables
from store.config.engine import Engine

# Fewer rows are joined faster by DuckDB in this process than tasks are started.
_WORTH = 2_000_000
_COST = 3  # processor seconds of tasks for each one of a database (`benchmarks.lists_on_nodes`)


@contextmanager
def scratch_tables(engine: Engine, folder: Path, rows: int) -> Iterator[ScratchTables]:
    """Open scratch tables. Their rows end with the block.

    They are on Ray if there are many rows, and a cluster that is faster than this process. (A local
    Ray has the cores of this process and no others.)

    Args:
        engine: settings of corpus.yaml.
        folder: a local one, for the file of a database.
        rows: of the largest table.

    Raises:
        ConfigError: a query in the `with` block needs more memory, although it spills.
        ClusterError: the cluster cannot be joined.
    """
    with ExitStack() as stack:
        if rows >= _WORTH:
            # Small work does not wait for the import of Ray.
            from embedders.pool.ray_cluster import cluster, cpus, resolved_address
            from pipelines.engine.ray_tables import RayTables

            if (address := resolved_address(engine.ray.address)) != "local":
                stack.enter_context(cluster(address))
                if cpus() > _COST * engine.duckdb.threads:
                    yield RayTables(engine.duckdb)
                    return
        yield DuckDBTables(stack.enter_context(database(folder, engine.duckdb)))
