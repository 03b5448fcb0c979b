"""A scratch database holds more than its memory limit, and leaves nothing behind."""

from pathlib import Path

from pipelines.engine.duckdb_scratch import database, query_value


def test_tables_beyond_the_limit_are_on_disk_and_seen_by_cursors(tmp_path: Path) -> None:
    with database(tmp_path, memory="60MB") as connection:
        ids = "md5(n::VARCHAR) AS id, md5('p' || n // 2) AS part"
        connection.execute(f"CREATE TABLE links AS SELECT {ids} FROM range(1000000) AS r(n)")
        on_disk = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
        assert on_disk > 60_000_000  # not compressed
        with connection.cursor() as cursor:
            assert query_value(cursor, "SELECT count(DISTINCT id) FROM links") == 1_000_000
            assert query_value(cursor, "SELECT count(DISTINCT part) FROM links") == 500_000
    assert not list(tmp_path.rglob("*"))
