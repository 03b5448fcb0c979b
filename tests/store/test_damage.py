"""A damaged table raises DamagedTableError and never counts as missing."""

import contextlib
import shutil
from pathlib import Path

import lance
import pyarrow as pa
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestration.cli.main import main
from pipelines.stages import staleness
from store.errors import DamagedTableError, NotFoundError, SchemaError
from store.tables import releases, schema
from store.tables.backup import copy_file
from store.tables.lance_tables import Tables
from store.tables.maintain import compact
from store.workspace import Workspace
from tests.helpers.stores import S3Server
from tests.store.test_migrations import stored_corpus

ROWS = pa.schema([pa.field("drop", pa.string(), False), pa.field("id", pa.int64(), False)])
KINDS = ("deleted", "empty", "half", "short", "zeros")


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table with three fragments, each of which has deleted rows, and a tag."""
    folder = tmp_path_factory.mktemp("intact")
    tables = Tables(folder)
    for drop in ("a", "b", "c"):
        batches = pa.table({"drop": [drop] * 500, "id": range(500)}, schema=ROWS).to_batches()
        tables.replace("rows", ROWS, batches, f"drop = '{drop}'")
    tables.open("rows").tags.create("tagged", 2)
    tables.replace("rows", ROWS, [], "id = 5")
    return folder


@pytest.fixture
def tables(intact: Path, tmp_path: Path) -> Tables:
    shutil.copytree(intact, tmp_path / "tables")
    return Tables(tmp_path / "tables")


@pytest.fixture(params=["local", "s3"])
def stored(request: pytest.FixtureRequest, tables: Tables, s3: S3Server) -> Tables:
    """The table in a local folder, and on the S3 server."""
    if request.param == "local":
        return tables
    remote = Tables(s3.folder(), s3.options())
    for file in tables.files.list():
        copy_file(tables.files, file.path, remote.files, file.path)
    return remote


def damage_stored(tables: Tables, folder: str, kind: str) -> None:
    """Damage the first file of a folder by name: manifests of later versions come first."""
    path = min(f.path for f in tables.files.list(f"rows.lance/{folder}") if ".json" not in f.path)
    data = tables.files.read(path)
    if kind == "deleted":
        tables.files.delete([path])
    else:
        contents = {"empty": b"", "half": data[: len(data) // 2], "short": data[:-3]}
        tables.files.write(path, contents.get(kind, bytes(len(data))))


def damage(path: Path, kind: str) -> None:
    data = path.read_bytes()
    if kind == "deleted":
        path.unlink()
    else:
        contents = {"empty": b"", "half": data[: len(data) // 2], "short": data[:-3]}
        path.write_bytes(contents.get(kind, bytes(len(data))))


def newest(tables: Tables, pattern: str) -> Path:
    """The first file by name: manifests of later versions come first."""
    return min(Path(tables.uri("rows")).glob(pattern))


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_manifest(stored: Tables, kind: str) -> None:
    tables = stored
    damage_stored(tables, "_versions", kind)
    if kind == "deleted" and not tables.is_local:
        assert tables.version("rows") == 4  # nothing in an object store says that there was another
        return
    for action in (
        lambda: tables.open("rows"),
        lambda: tables.exists("rows"),
        lambda: tables.version("rows"),
        lambda: tables.scan("rows", ROWS),
        lambda: tables.replace("rows", ROWS, [], None),
        lambda: tables.replace("rows", ROWS, [], "drop = 'a'"),
        lambda: tables.upsert("rows", ROWS, [], "id"),
        lambda: compact(tables, "rows"),
    ):
        with pytest.raises(DamagedTableError, match=r"table 'rows' is damaged: .*rows\.lance"):
            action()
    assert tables.names() == ["rows"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("folder", ["data", "_deletions"])
def test_a_damaged_file_of_rows(stored: Tables, folder: str, kind: str) -> None:
    tables = stored
    damage_stored(tables, folder, kind)
    dataset = tables.open("rows")
    for read in (
        lambda: tables.scan("rows", ROWS),
        lambda: tables.scan("rows", ROWS, ["id"], "drop <> 'z'"),
        lambda: dataset.to_table(),
        lambda: list(dataset.to_batches()),
        lambda: dataset.scanner(columns=["id"]).to_table(),
        lambda: dataset.scanner(columns=["id"]).to_reader().read_all(),
        lambda: dataset.count_rows("id > 3"),
        lambda: dataset.take(list(range(1400))),
    ):
        with pytest.raises(DamagedTableError, match=r"'rows' is damaged: version 5 in .*rows\."):
            read()


@pytest.mark.parametrize("kind", KINDS)
def test_going_back_to_an_earlier_version_as_the_message_says(tables: Tables, kind: str) -> None:
    manifest = newest(tables, "_versions/*.manifest")
    damage(manifest, kind)
    with pytest.raises(DamagedTableError, match="move an unreadable manifest out of _versions"):
        tables.open("rows")
    manifest.unlink(missing_ok=True)
    with pytest.raises(DamagedTableError, match="the manifest of version 5 is missing"):
        tables.open("rows")
    lance.dataset(tables.uri("rows"), version=4).restore()
    assert tables.scan("rows", ROWS).num_rows == 1500
    tables.replace("rows", ROWS, [], "drop = 'a'")
    assert tables.scan("rows", ROWS).num_rows == 1000


@pytest.mark.parametrize("kept", [(), ("data",), ("data", "_deletions", "_refs")])
def test_a_table_without_versions(tables: Tables, kept: tuple[str, ...]) -> None:
    shutil.rmtree(Path(tables.uri("rows"), "_versions"))
    for folder in ("data", "_deletions", "_refs", "_transactions"):
        if folder not in kept:
            shutil.rmtree(Path(tables.uri("rows"), folder))
    if kept:
        with pytest.raises(DamagedTableError):
            tables.open("rows")
    else:  # nothing is left that could be lost
        with pytest.raises(NotFoundError):
            tables.open("rows")


def test_missing_versions(tables: Tables) -> None:
    for version in (77, "no-such-tag"):
        with pytest.raises(NotFoundError):
            tables.open("rows", version)
    manifests = sorted(Path(tables.uri("rows"), "_versions").glob("*.manifest"))
    manifests[-3].unlink()  # version 3, cleaned up
    with pytest.raises(NotFoundError):
        tables.open("rows", 3)
    manifests[-2].unlink()  # version 2, which has a tag: it may not be missing
    for version in (2, "tagged"):
        with pytest.raises(DamagedTableError):
            tables.open("rows", version)


def test_mistakes_are_not_damage(tables: Tables) -> None:
    dataset = tables.open("rows")
    for mistake in ({"filter": "nothing = 1"}, {"filter": "id = = 1"}, {"columns": ["nothing"]}):
        with pytest.raises(ValueError, match="Invalid user input"):
            dataset.to_table(**mistake)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_any_damage_is_typed_or_harmless(
    tmp_path_factory, intact: Path, data: st.DataObject
) -> None:
    """Flipped, missing and torn files. Lance has no checksums, so some flips go unnoticed."""
    folder = tmp_path_factory.mktemp("damaged") / "tables"
    shutil.copytree(intact, folder)
    files = sorted(p for p in folder.glob("rows.lance/**/*") if p.is_file())
    path = data.draw(st.sampled_from(files))
    if data.draw(st.booleans()):
        content = bytearray(path.read_bytes())
        position = data.draw(st.integers(0, len(content) - 1))
        content[position] ^= 1 << data.draw(st.integers(0, 7))
        path.write_bytes(content)
    else:
        damage(path, data.draw(st.sampled_from(KINDS)))
    tables = Tables(folder)
    # A flip in the name of a column of the manifest reads as another schema.
    with contextlib.suppress(DamagedTableError, SchemaError):
        tables.scan("rows", ROWS)
        tables.replace("rows", ROWS, [], "id = 7")
    shutil.rmtree(folder)


@pytest.fixture
def corpus(tmp_path: Path) -> Workspace:
    return stored_corpus(tmp_path, 1)


@pytest.mark.parametrize("kind", KINDS)
def test_commands_name_a_damaged_table(corpus: Workspace, kind: str) -> None:
    versions = Path(corpus.tables.uri("releases"), "_versions")
    damage(min(versions.glob("*.manifest")), kind)
    with pytest.raises(DamagedTableError):
        releases.latest_release(corpus.tables)
    for words in (["run"], ["search", "a red square"], ["evaluate"]):
        result = CliRunner().invoke(main, [*words, "--corpus", str(corpus.root)])
        assert result.exit_code == 1, result.output
        assert "error: table 'releases' is damaged" in result.output
        assert "up to date" not in result.output
        assert "no release" not in result.output
        assert not isinstance(result.exception, DamagedTableError)


@pytest.mark.parametrize("file", ["data/*.lance", "_versions/*.manifest"])
@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("gallery__colours__image", ["search", "a red square"]),
        ("gallery__colours__image", ["search", "a red square", "--where", "image_width > 1"]),
        ("samples", ["report", "curation"]),
        ("signals", ["whatif", "--set", "image_min_side.min=20"]),
        ("ledger", ["why", "broken"]),
        ("decisions", ["export", "out", "--to", "parquet"]),
    ],
)
def test_every_command_names_the_damaged_table(
    corpus: Workspace, table: str, words: list[str], file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(corpus.root)
    for path in Path(corpus.tables.uri(table)).glob(file):
        damage(path, "short")
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 1, result.output
    assert isinstance(result.exception, SystemExit), result.exception  # no traceback
    assert f"'{table}' is damaged" in result.output


def test_damaged_stages_do_not_read_as_nothing_made(corpus: Workspace) -> None:
    damage(min(Path(corpus.tables.uri("stages"), "data").glob("*")), "short")
    with pytest.raises(DamagedTableError, match="'stages' is damaged"):
        staleness.stale(corpus, None)
    with pytest.raises(DamagedTableError, match="'stages' is damaged"):
        staleness.drops_with_samples(corpus)
    assert corpus.tables.scan("samples", schema.SAMPLES).num_rows
