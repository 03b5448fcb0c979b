"""A scratch database holds more than its memory limit, as configured, and leaves nothing."""

from pathlib import Path

import pytest

from pipelines.decisions.kept_samples import kept_samples
from pipelines.engine.duckdb_scratch import database, query_value
from store.config.engine import DuckDB
from store.errors import ConfigError
from store.workspace import Workspace
from tests.helpers.served import stored_corpus


def test_tables_beyond_the_limit_are_on_disk_and_seen_by_cursors(tmp_path: Path) -> None:
    with database(tmp_path, DuckDB(memory=60_000_000)) as connection:
        ids = "md5(n::VARCHAR) AS id, md5('p' || n // 2) AS part"
        connection.execute(f"CREATE TABLE links AS SELECT {ids} FROM range(1000000) AS r(n)")
        on_disk = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
        assert on_disk > 60_000_000  # not compressed
        with connection.cursor() as cursor:
            assert query_value(cursor, "SELECT count(DISTINCT id) FROM links") == 1_000_000
            assert query_value(cursor, "SELECT count(DISTINCT part) FROM links") == 500_000
    assert not list(tmp_path.rglob("*"))


def test_too_little_memory_names_the_setting(tmp_path: Path) -> None:
    settings = DuckDB(memory=50_000_000)
    with (
        pytest.raises(
            ConfigError, match=r"set engine\.duckdb\.memory in corpus\.yaml to 200000000"
        ),
        database(tmp_path, settings) as connection,
    ):
        connection.execute("CREATE TABLE lists AS SELECT list(n) FROM range(100_000_000) AS r(n)")


def test_memory_and_threads_are_those_of_the_corpus(tmp_path: Path) -> None:
    file = stored_corpus(tmp_path).root / "corpus.yaml"
    duckdb = "engine: {duckdb: {memory: 100_000_000, threads: 1}}\n"
    file.write_text(file.read_text("utf-8") + duckdb, "utf-8")
    with kept_samples(Workspace.open(tmp_path), tmp_path / "scratch") as samples:
        names = ("memory_limit", "threads")
        query = "SELECT " + ", ".join(f"current_setting('{n}') AS {n}" for n in names)
        rows = samples.scratch.select(query, "kept")
    assert rows.to_pylist() == [{"memory_limit": "95.3 MiB", "threads": 1}]
