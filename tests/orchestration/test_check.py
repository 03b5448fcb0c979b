"""`isotrope check` finds planted damage, names the table and says what to do."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import lance
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from click.testing import CliRunner, Result

from assets.checks import all_checks
from assets.corpus_check import TABLE_CHECKS
from orchestration.cli.main import main
from pipelines.stages import staleness
from store.tables import releases, schema
from store.workspace import Workspace
from tests.store.test_migrations import stored_corpus

SPACE = "colours"


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sound")
    return stored_corpus(folder, 1).root


@pytest.fixture
def corpus(sound: Path, tmp_path: Path) -> Workspace:
    shutil.copytree(sound, tmp_path / "corpus")
    return Workspace.open(tmp_path / "corpus")


def check(corpus: Workspace, *options: str) -> Result:
    return CliRunner().invoke(main, ["check", "--corpus", str(corpus.root), *options])


def failures(corpus: Workspace, *options: str) -> list[tuple[str, str]]:
    """(check, table) of the checks that failed."""
    result = check(corpus, "--json", *options)
    report = json.loads(result.stdout)
    failed = [row for row in report["checks"] if not row["passed"]]
    assert result.exit_code == (1 if failed else 0)
    assert report["passed"] == (not failed)
    assert all(row["problem"] and row["remedy"] for row in failed)
    return [(row["check"], row["table"]) for row in failed]


def test_a_sound_corpus_passes(corpus: Workspace) -> None:
    for options in ([], ["--deep"]):
        assert failures(corpus, *options) == []
        result = check(corpus, *options)
        assert result.exit_code == 0
        assert "everything is sound" in result.output
    report = json.loads(check(corpus, "--json").stdout)
    names = {row["check"] for row in report["checks"]}
    assert names >= {"files", "unique parts", "samples conserved", "gallery sound"}
    assert any(name.startswith("tag release-") for name in names)


def test_every_blocking_check_of_dagster_is_part_of_it() -> None:
    specs = [spec for check in all_checks([]) for spec in check.check_specs]
    here = {check.__name__ for checks in TABLE_CHECKS.values() for check in checks}
    assert {spec.name for spec in specs if spec.blocking} == here
    assert {spec.name for spec in specs} > here


def data_file(corpus: Workspace, name: str) -> Path:
    return min(Path(corpus.tables.uri(name), "data").iterdir())


def cut_data(corpus: Workspace) -> None:
    path = data_file(corpus, "samples")
    path.write_bytes(path.read_bytes()[:-9])


def lose_data(corpus: Workspace) -> None:
    data_file(corpus, "ledger").unlink()


def lose_manifest(corpus: Workspace) -> None:
    min(Path(corpus.tables.uri("signals"), "_versions").glob("*.manifest")).unlink()


def empty_manifest(corpus: Workspace) -> None:
    min(Path(corpus.tables.uri("releases"), "_versions").glob("*.manifest")).write_bytes(b"")


def delete(table: str, where: str) -> Callable[[Workspace], None]:
    return lambda corpus: corpus.tables.open(table).delete(where)


def repeat(table: str) -> Callable[[Workspace], None]:
    def plant(corpus: Workspace) -> None:
        first = corpus.tables.open(table).to_table(limit=1)
        lance.write_dataset(first, corpus.tables.uri(table), mode="append")

    return plant


def change(table: str, column: str, value: object) -> Callable[[Workspace], None]:
    """Set a column of the first row."""

    def plant(corpus: Workspace) -> None:
        rows = corpus.tables.open(table).to_table()
        field = rows.schema.field(column)
        first = pa.array([value], field.type)
        changed = pa.concat_arrays([first, rows[column].combine_chunks().slice(1)])
        rows = rows.set_column(rows.schema.get_field_index(column), field, changed)
        lance.write_dataset(rows, corpus.tables.uri(table), mode="overwrite")

    return plant


def untag(corpus: Workspace) -> None:
    release = releases.latest_release(corpus.tables)
    corpus.tables.open(f"gallery__{SPACE}__image").tags.delete(release.tag)


def move_tag(corpus: Workspace) -> None:
    release = releases.latest_release(corpus.tables)
    corpus.tables.open(f"banks__{SPACE}").tags.update(release.tag, 1)


def count_one_more(corpus: Workspace) -> None:
    dataset = corpus.tables.open("stages")
    dataset.update({"input": "input + 1"}, where="stage = 'decisions'")


WIDE = [2.0] * schema.served_width(16)
GALLERY = f"gallery__{SPACE}__image"
VECTORS = f"vectors__{SPACE}"
PLANTED: dict[str, tuple[Callable[[Workspace], None], set[tuple[str, str]]]] = {
    "cut data": (cut_data, {("files", "samples")}),
    "lost data": (lose_data, {("files", "ledger")}),
    "lost manifest": (lose_manifest, {("files", "signals")}),
    "empty manifest": (empty_manifest, {("files", "releases"), ("tags", "releases")}),
    "lost sample": (delete("samples", "key = 'red-0000'"), {("samples conserved", "samples")}),
    "repeated sample": (repeat("samples"), {("samples unique", "samples")}),
    "lost ledger": (delete("ledger", "outcome = 'failed'"), {("samples conserved", "samples")}),
    "lost signals": (delete("signals", "text_chars < 24"), {("signals conserved", "signals")}),
    "lost vectors": (delete(VECTORS, "modality = 'text'"), {("vectors sound", "vectors")}),
    "repeated vector": (repeat(VECTORS), {("unique parts", VECTORS), ("vectors sound", "vectors")}),
    "long vector": (change(VECTORS, "vector", [2.0] * 16), {("vectors sound", "vectors")}),
    "repeated item": (repeat(GALLERY), {("unique parts", GALLERY), ("gallery sound", "gallery")}),
    "infinite bias": (change(GALLERY, "bias_text", float("inf")), {("gallery sound", "gallery")}),
    "long item": (change(GALLERY, "vector", WIDE), {("gallery sound", "gallery")}),
    "pair out of range": (
        change(f"pairs__{SPACE}", "text_image_cosine", 7.0),
        {("pairs sound", "pairs")},
    ),
    "lost decision": (delete("decisions", "keep"), {("decisions conserved", "decisions")}),
    "lost tag": (untag, {("tag release-000001", GALLERY)}),
    "moved tag": (move_tag, {("tag release-000001", f"banks__{SPACE}")}),
    "wrong count": (count_one_more, {("decisions conserved", "decisions")}),
    "lost record": (
        delete("stages", "stage = 'samples' AND drop = 'second'"),
        {("rows have a record", "samples")},
    ),
}


@pytest.mark.parametrize("name", PLANTED)
def test_planted_damage_is_found(corpus: Workspace, name: str) -> None:
    plant, expected = PLANTED[name]
    plant(corpus)
    assert set(failures(corpus)) >= expected
    result = check(corpus)
    assert result.exit_code == 1
    assert "failed" in result.output


def test_bytes_that_changed_in_place_are_found_by_reading_them(corpus: Workspace) -> None:
    path = data_file(corpus, "samples")
    content = bytearray(path.read_bytes())
    content[-400:-100] = bytes(300)
    path.write_bytes(content)
    assert ("files", "samples") in failures(corpus, "--deep")


def test_marked_stages_are_made_again(corpus: Workspace) -> None:
    change(f"pairs__{SPACE}", "text_image_cosine", 7.0)(corpus)
    # The code of these stages has changed since the corpus was stored.
    assert staleness.stale(corpus, None) == ["gallery", "index", "release"]
    result = check(corpus, "--mark-stale")
    assert result.exit_code == 1
    assert "marked as stale: pairs\nnext: isotrope run" in result.output
    assert staleness.stale(corpus, None) == ["pairs", "gallery", "index", "release"]
    assert staleness.stale(corpus, "first") == []


def test_a_check_changes_nothing(corpus: Workspace) -> None:
    tables = corpus.tables
    before = {
        name: (tables.version(name), tables.open(name).count_rows()) for name in tables.names()
    }
    change(GALLERY, "bias_text", float("nan"))(corpus)
    failures(corpus, "--deep")
    after = {name: (tables.version(name), tables.open(name).count_rows()) for name in before}
    assert {n for n in before if before[n] != after[n]} == {GALLERY}
    assert pc.is_nan(tables.open(GALLERY).to_table()["bias_text"][0]).as_py()
