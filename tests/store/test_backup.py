"""Backups: incremental, consistent while tables are written, and restored after a loss."""

import shutil
import threading
from pathlib import Path

import pytest
from click.testing import CliRunner

from assets.corpus_check import check_corpus
from orchestration.cli.main import main
from store.errors import InputError, NotFoundError
from store.search.corpus import Corpus
from store.tables import schema
from store.tables.backup import DATA, back_up, list_backups
from store.tables.files import Files
from store.tables.outcomes import Counts
from store.tables.restore import restore
from store.tables.staging import begin, publish
from store.workspace import Workspace


@pytest.fixture
def corpus(squares_with_checksums: Workspace) -> Workspace:
    return squares_with_checksums


def content(corpus: Workspace) -> dict[str, list[str]]:
    tables = corpus.tables
    return {n: sorted(map(repr, tables.open(n).to_table().to_pylist())) for n in tables.names()}


def hits(corpus: Workspace) -> list[dict]:
    vector = [1.0, *[0.5] * 15]
    return Corpus(corpus.tables).search(vectors={"text": vector}).among("image").to_list()


def test_a_lost_folder_is_restored(corpus: Workspace, tmp_path: Path) -> None:
    before, found = content(corpus), hits(corpus)
    target = tmp_path / "backups"
    words = ["--corpus", str(corpus.root)]
    assert CliRunner().invoke(main, ["backup", str(target), *words]).exit_code == 0
    with pytest.raises(InputError, match="not empty"):
        restore(Files(target), corpus.tables)
    shutil.rmtree(corpus.tables.root)
    said = CliRunner().invoke(main, ["restore", str(target), *words])
    assert said.exit_code == 0, said.output
    assert content(corpus) == before
    assert hits(corpus) == found
    assert [f for f in check_corpus(corpus, deep=True) if not f.passed] == []
    corpus.tables.replace("samples", schema.SAMPLES, [], "key = 'blue-0127'")  # can be written


def test_files_are_copied_once(corpus: Workspace, tmp_path: Path) -> None:
    target = Files(tmp_path / "backups")
    first = back_up(corpus.tables, target)
    assert first.copied == len(first.catalogue.data) == len(list(target.list(DATA)))
    corpus.tables.replace("samples", schema.SAMPLES, [], "key = 'blue-0127'")
    second = back_up(corpus.tables, target)
    assert second.copied == 1  # a deletion file
    back_up(corpus.tables, target, keep=1)
    assert len(list_backups(target)) == 1
    shutil.rmtree(corpus.tables.root)
    restore(target, corpus.tables)
    assert corpus.tables.open("samples").count_rows("key = 'blue-0127'") == 0
    with pytest.raises(NotFoundError, match="no backup 'x'"):
        restore(target, corpus.tables, "x")


def test_an_interrupted_restore_is_finished(
    corpus: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, target = content(corpus), Files(tmp_path / "backups")
    back_up(corpus.tables, target)
    shutil.rmtree(corpus.tables.root)
    upload = Files.upload
    for calls in (0, 7, 30):
        remaining = iter(range(calls))

        def failing(files: Files, local: Path, path: str, remaining=remaining) -> None:
            next(remaining)
            upload(files, local, path)

        with monkeypatch.context() as patch:
            patch.setattr(Files, "upload", failing)
            with pytest.raises(StopIteration):
                restore(target, corpus.tables)
    restore(target, corpus.tables)
    assert content(corpus) == before


def test_a_backup_beside_a_writer_is_of_one_moment(corpus: Workspace, tmp_path: Path) -> None:
    """The record of a stage and its rows belong together in each of ten backups."""
    ended = threading.Event()
    numbers = iter(range(100_000))

    def write() -> None:
        while not ended.is_set():
            number = next(numbers)
            rows = [
                {"drop": "third", "id": f"{number}-{n}", "policy": ""} for n in range(number % 7)
            ]
            rows = [row | {"keep": True} for row in rows]
            batches = schema.pa.Table.from_pylist(rows, schema=schema.DECISIONS).to_batches()
            with begin(corpus.tables, "decisions", str(number), schema.DECISIONS, "third") as run:
                publish(
                    corpus.tables,
                    run,
                    counts=Counts(number % 7, number % 7),
                    entries=[],
                    write=lambda batches=batches: corpus.tables.replace(
                        "decisions", schema.DECISIONS, batches, "drop = 'third'"
                    ),
                    output=lambda number=number: str(number),
                )
            ended.wait(0.1 * (number % 2))  # some backups must find a stage that is published

    thread = threading.Thread(target=write)
    thread.start()
    recorded = 0
    for number in range(10):
        target = Files(tmp_path / f"backup-{number}")
        back_up(corpus.tables, target)
        copied = Workspace(corpus.root, corpus.config, type(corpus.tables)(tmp_path / f"{number}"))
        restore(target, copied.tables)
        rows = copied.tables.open("decisions").count_rows("drop = 'third'")
        where = "drop = 'third' AND stage = 'decisions'"
        for record in copied.tables.scan("stages", schema.STAGES, where=where).to_pylist():
            recorded += 1
            assert record["kept"] == rows
    ended.set()
    thread.join()
    assert recorded
