"""Purged rows leave every kept version of a table, and their bytes the disk."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store.tables import purge
from store.tables.lance_tables import Tables, one_of
from store.tables.purge import Rule, delete_old_versions, is_in, purge_rows

SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("vector", pa.list_(pa.float32(), 4), nullable=False),
        pa.field("others", pa.list_(pa.string()), nullable=False),
    ]
)


def name(number: int) -> str:
    return f"secret-{number:06d}"


def rows(numbers: list[int]) -> list[pa.RecordBatch]:
    values = [
        {"id": name(n), "vector": np.full(4, n, np.float32), "others": [name(n), "x"]}
        for n in numbers
    ]
    return pa.Table.from_pylist(values, schema=SCHEMA).to_batches()


def rule(numbers: set[int]) -> Rule:
    ids = {name(n) for n in numbers}
    return Rule(("id",), lambda batch: is_in(batch, {"id": ids}))


def ids(tables: Tables, version: int | str | None = None) -> list[str]:
    return sorted(tables.open("t", version).to_table(columns=["id"])["id"].to_pylist())


def files_with(folder: Path, text: str) -> list[str]:
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return [path.name for path in paths if text.encode() in path.read_bytes()]


step = st.one_of(
    st.tuples(st.just("add"), st.lists(st.integers(0, 60), min_size=1, max_size=9, unique=True)),
    st.tuples(st.just("delete"), st.lists(st.integers(0, 60), min_size=1, max_size=9)),
    st.tuples(st.sampled_from(["tag", "column", "drop column", "orphan"]), st.just([0])),
)


@settings(max_examples=40)
@given(
    steps=st.lists(step, min_size=1, max_size=9),
    gone=st.sets(st.integers(0, 60), min_size=1, max_size=12),
    interrupted=st.integers(0, 4),
)
def test_purged_rows_leave_every_version(
    tmp_path_factory: pytest.TempPathFactory,
    steps: list[tuple[str, list[int]]],
    gone: set[int],
    interrupted: int,
) -> None:
    """Whatever was done to the table, and even if the purge is interrupted at any commit."""
    folder = tmp_path_factory.mktemp("t")
    tables = Tables(folder)
    tables.replace("t", SCHEMA, rows([1, 2, 3]), None)
    expected: dict[str, list[str]] = {}
    for number, (action, numbers) in enumerate(steps):
        where = one_of("id", map(name, numbers))
        dataset = tables.open("t")
        if action in ("add", "delete"):
            tables.replace("t", SCHEMA, rows(numbers) if action == "add" else [], where)
        elif action == "tag":
            dataset.tags.create(f"tag-{number}", dataset.version)
            expected[f"tag-{number}"] = ids(tables)
        elif action == "column":
            if "more" not in dataset.schema.names:
                dataset.add_columns({"more": "id"})
        elif action == "drop column":
            if "more" in dataset.schema.names:
                dataset.drop_columns(["more"])
        else:  # what a writer leaves that is killed before its commit
            files = pa.RecordBatchReader.from_batches(SCHEMA, rows([1, 60]))
            uri = dataset.uri  # "overwrite": the table may have one more column by now
            purge.lance.fragment.write_fragments(files, uri, schema=SCHEMA, mode="overwrite")
    newest, content = tables.version("t"), ids(tables)
    held = files_with(folder, "secret-")
    assert held
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, interrupted)
        try:
            purge_rows(tables, "t", rule(gone), newest)
        except InterruptedError:
            patch.undo()
            purge_rows(tables, "t", rule(gone), newest)
    delete_old_versions(tables, "t")
    names = {name(n) for n in gone}
    assert ids(tables) == [each for each in content if each not in names]
    for tag, before in expected.items():
        assert ids(tables, tag) == [each for each in before if each not in names]
    assert len(tables.open("t").versions()) <= 1 + len(expected)
    for each in names:
        assert files_with(folder, each) == []


def stop_after(patch: pytest.MonkeyPatch, commits: int) -> None:
    """Raise InterruptedError after some commits and before the tag of the last one is moved."""
    commit, count = purge._Rewriter.commit, 0

    def counted(self, dataset):
        nonlocal count
        version, count = commit(self, dataset), count + 1
        if count == commits:
            raise InterruptedError
        return version

    patch.setattr(purge._Rewriter, "commit", counted)


def test_a_clean_table_is_not_written(tmp_path: Path) -> None:
    tables = Tables(tmp_path)
    tables.replace("t", SCHEMA, rows([1, 2]), None)
    version = tables.version("t")
    assert purge_rows(tables, "t", rule({9}), version) == 0
    assert tables.version("t") == version


def test_rows_that_were_deleted_before_are_purged_too(tmp_path: Path) -> None:
    tables = Tables(tmp_path)
    tables.replace("t", SCHEMA, rows([1, 2]), None)
    tables.replace("t", SCHEMA, [], one_of("id", [name(1)]))
    assert files_with(tmp_path, name(1))
    assert purge_rows(tables, "t", rule({1}), tables.version("t")) == 0
    delete_old_versions(tables, "t")
    assert not files_with(tmp_path, name(1))
    assert ids(tables) == [name(2)]


def test_indexes_are_built_again_without_the_rows(tmp_path: Path) -> None:
    """Those of tagged versions too: a search by an index finds what it found before."""
    tables = Tables(tmp_path)
    chance = np.random.default_rng(2)
    columns = pa.schema([*SCHEMA, pa.field("caption", pa.string())])
    values = [
        {"id": name(n), "vector": chance.normal(size=16), "others": [], "caption": f"a word {n}"}
        for n in range(400)
    ]
    columns = columns.set(1, pa.field("vector", pa.list_(pa.float32(), 16), nullable=False))
    tables.replace("t", columns, pa.Table.from_pylist(values, schema=columns).to_batches(), None)
    tables.open("t").create_index("vector", "IVF_RQ", metric="dot", num_partitions=2)
    tables.open("t").create_scalar_index("id", "BTREE")
    tables.open("t").create_scalar_index("caption", "INVERTED")
    tables.open("t").tags.create("release", tables.version("t"))
    tables.replace("t", columns, [], one_of("id", [name(9)]))
    query = {"column": "vector", "q": values[5]["vector"], "k": 20, "nprobes": 2}

    def search(version: str | None) -> tuple[list[str], int, list[str]]:
        dataset = tables.open("t", version)
        nearest = dataset.to_table(columns=["id"], nearest={**query, "refine_factor": 9})
        words = dataset.to_table(columns=["id"], full_text_query="word")
        indexes = sorted(f"{i.name} {i.index_type}" for i in dataset.describe_indices())
        return nearest["id"].to_pylist(), words.num_rows, indexes

    before = {version: search(version) for version in (None, "release")}
    purge_rows(tables, "t", rule({5}), tables.version("t"))
    delete_old_versions(tables, "t")
    assert files_with(tmp_path, name(5)) == []
    assert len(before["release"][2]) == 3
    for version, (nearest, words, indexes) in before.items():
        actual = search(version)
        assert actual[0][:18] == [each for each in nearest if each != name(5)][:18]
        assert actual[1:] == (words - 1, indexes)
