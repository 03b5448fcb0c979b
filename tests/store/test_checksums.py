"""Every bit that flips in a file of a table is found by its checksum."""

import random
import shutil
from pathlib import Path

import pytest

from assets.corpus_check import check_corpus
from store.errors import DamagedTableError
from store.tables import checksums, maintain
from store.tables.lance_tables import Tables
from store.tables.table_files import files_of_version
from store.workspace import Workspace

GALLERY = "gallery__colours__image"


def flip(path: Path, bit: int) -> None:
    """Flip one bit of a file in place."""
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)


@pytest.fixture
def tables(tmp_path: Path, squares: Workspace) -> Tables:
    """A copy of the shared corpus's tables, with checksums."""
    shutil.copytree(squares.tables.root, tmp_path / "tables")
    copied = Tables(tmp_path / "tables")
    for name in copied.names():
        assert checksums.record(copied, name) > 0
        assert checksums.record(copied, name) == 0
    return copied


def test_every_single_bit_flip_in_a_gallery_is_found(tables: Tables) -> None:
    chance = random.Random(5)
    folder = Path(tables.uri(GALLERY))
    served = tables.open(GALLERY)
    files = [folder / path for path in files_of_version(tables, GALLERY, served)]
    assert {path.suffix for path in files} == {".lance", ".manifest"}
    assert checksums.changed_files(tables, GALLERY) == []
    for _ in range(200):
        path = chance.choice(files)
        bit = chance.randrange(8 * path.stat().st_size)
        flip(path, bit)
        assert checksums.changed_files(tables, GALLERY) == [str(path.relative_to(folder))]
        flip(path, bit)


def test_check_and_maintenance_find_a_flipped_bit(squares_with_checksums: Workspace) -> None:
    workspace = squares_with_checksums
    assert all(finding.passed for finding in check_corpus(workspace, deep=True))
    (data, *_) = Path(workspace.tables.uri(GALLERY), "data").iterdir()
    flip(data, 4 * data.stat().st_size)
    failed = [f for f in check_corpus(workspace, deep=True) if not f.passed]
    assert ("checksums", GALLERY) in {(finding.check, finding.table) for finding in failed}
    done = {each.table: each.changed for each in maintain.maintain(workspace.tables)}
    assert done[GALLERY] == (f"data/{data.name}",)
    assert not any(changed for name, changed in done.items() if name != GALLERY)


def test_changed_files_are_not_compacted(tmp_path: Path, tables: Tables) -> None:
    """Compaction would write the wrong bytes into new files with new checksums."""
    samples = tables.open("samples")
    assert len(samples.get_fragments()) > 1
    path = Path(tables.uri("samples"), "data", samples.get_fragments()[0].metadata.files[0].path)
    flip(path, 4 * path.stat().st_size)
    version = samples.version
    with pytest.raises(DamagedTableError, match=path.name):
        maintain.compact(tables, "samples")
    assert tables.version("samples") == version


def test_new_files_alone_are_read(tables: Tables, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    plain = checksums._digest
    monkeypatch.setattr(
        checksums, "_digest", lambda t, name, path: read.append(path) or plain(t, name, path)
    )
    folder = Path(tables.uri("samples"))
    tables.open("samples").delete("key = 'blue-0127'")
    size = checksums.record(tables, "samples")
    assert len(read) == 2  # a manifest, a deletion file
    assert size == sum((folder / path).stat().st_size for path in read)
    shutil.rmtree(Path(tables.uri("samples"), "_deletions"))
    checksums.forget_deleted(tables, "samples")
    assert len(checksums.recorded(tables, "samples")) > 2
    assert not any("_deletions" in path for path in checksums.recorded(tables, "samples"))


def test_records_become_one_and_those_of_older_corpora_count(tables: Tables) -> None:
    """Older corpora have a file for each checksum."""
    before = checksums.recorded(tables, "samples")
    shutil.rmtree(Path(tables.root, checksums.ROOT, "samples"))
    for path, digest in before.items():
        tables.files.write(f"{checksums.ROOT}/samples/{path}", digest.encode())
    assert checksums.recorded(tables, "samples") == before
    assert checksums.record(tables, "samples") == 0
    for number in range(20):
        tables.open("samples").update({"text": f"'{number}'"}, where="key = 'blue-0127'")
        assert checksums.record(tables, "samples") > 0
        assert len(list(tables.files.list(f"{checksums.ROOT}/samples"))) <= 16
    assert before.items() < checksums.recorded(tables, "samples").items()
    assert checksums.changed_files(tables, "samples") == []
