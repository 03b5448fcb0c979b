"""A build of the explorer that is not that of its source is noticed."""

from pathlib import Path

import pytest

from tools.check_explorer import FOLDER, RECORD, digest, is_current


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("src/main.tsx", "built/index.html", "node_modules/x/y.js"):
        path = tmp_path / name
        path.parent.mkdir(parents=True)
        path.write_text(name)
    (tmp_path / RECORD).write_text(digest(tmp_path) + "\n")
    return tmp_path


def test_the_committed_build_is_that_of_the_source() -> None:
    assert is_current(FOLDER)


def test_changes_of_source_and_build_are_noticed(folder: Path) -> None:
    assert is_current(folder)
    for name in ("src/main.tsx", "built/index.html"):
        (folder / name).write_text("changed")
        assert not is_current(folder)
        (folder / name).write_text(name)
    (folder / "src" / "more.ts").touch()
    assert not is_current(folder)


def test_packages_of_npm_do_not_count(folder: Path) -> None:
    (folder / "node_modules" / "x" / "y.js").write_text("changed")
    assert is_current(folder)


def test_a_build_without_a_record_is_out_of_date(folder: Path) -> None:
    (folder / RECORD).unlink()
    assert not is_current(folder)
