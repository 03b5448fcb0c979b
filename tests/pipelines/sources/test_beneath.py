"""Files below a folder: links inside it are followed, and none leads out, even if swapped in."""

import multiprocessing
import os
import time
from collections import Counter
from pathlib import Path

import pytest

from pipelines.sources.beneath import OutsideError, parent_of
from pipelines.sources.filesystem import FolderEntry, file_system, open_inside
from store.errors import RecordError

SECRET = b"secret"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with files and links of every kind; beside it, a folder with a secret."""
    outside, root = tmp_path / "outside", tmp_path / "root"
    (outside / "deep").mkdir(parents=True)
    (outside / "a").write_bytes(SECRET)
    (outside / "deep" / "a").write_bytes(SECRET)
    (root / "one" / "two").mkdir(parents=True)
    (root / "one" / "two" / "a").write_bytes(b"inside")
    (root / "link").symlink_to("one/two/a")
    (root / "one" / "absolute").symlink_to(root / "one" / "two" / "a")
    (root / "one" / "up").symlink_to("../link")
    (root / "folder").symlink_to("one/two")
    (root / "self").symlink_to(root)
    (root / "out").symlink_to(outside)
    (root / "one" / "out").symlink_to("../../outside/a")
    (root / "loop").symlink_to("loop")
    (root / "gone").symlink_to("nothing")
    os.mkfifo(root / "pipe")
    (tmp_path / "root-2").mkdir()
    (tmp_path / "root-2" / "a").write_bytes(SECRET)
    return root


@pytest.mark.parametrize(
    "path",
    [
        *("one/two/a", "./one//two/./a", "link", "one/absolute", "one/up", "folder/a"),
        *("one/../one/two/a", "self/self/folder/../two/a", "folder/../up"),
    ],
)
def test_paths_inside_are_opened(root: Path, path: str) -> None:
    for name in (str(root), str(root / "self")):
        with open_inside(name, path) as file:
            assert file.read() == b"inside"
    with open_inside(str(root), str(root / "one" / "two" / "a")) as file:
        assert file.read() == b"inside"


@pytest.mark.parametrize(
    ("path", "rule"),
    [
        *((path, "file.outside") for path in ("../outside/a", "out/a", "out/deep/a", "one/out")),
        *((path, "file.outside") for path in ("/etc/passwd", "../root-2/a", "../root/link", "..")),
        ("one/../../outside/a", "file.outside"),
        *((path, "file.unreadable") for path in ("loop", "gone", "nothing", "link/a", "a\0b")),
        *((path, "file.not_a_file") for path in ("one", "folder", "", ".", "self", "pipe")),
    ],
)
def test_all_other_paths_are_refused(root: Path, path: str, rule: str) -> None:
    with pytest.raises(RecordError) as error:
        open_inside(str(root), path)
    assert error.value.rule == rule


def test_listing_and_info(root: Path) -> None:
    fs = file_system(str(root))
    assert FolderEntry("one", True) in fs.entries("")
    assert FolderEntry("out", True, True) in fs.entries(".")
    assert [e.name for e in fs.entries("one/two")] == ["a"]
    assert fs.info("one/two/a").size == 6
    assert fs.info("link").size == len("one/two/a")
    for call in (fs.entries, fs.info):
        for path in ("out/deep", "../outside", "one/../../outside"):
            with pytest.raises(OSError, match="points outside"):
                call(path)


def test_no_handle_is_left_open(root: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for path in ("one/two/a", "self/self/folder/a", "out/a", "loop", "gone", "link/a", "", "pipe"):
        for follow in (True, False):
            try:
                with parent_of(str(root), path, follow=follow):
                    pass
            except (OSError, OutsideError):
                pass
    assert len(os.listdir("/proc/self/fd")) == before


def swap(root: str, target: str, kind: str, seconds: float) -> None:
    """Replace a folder or a file by a link that leads out, and back, as fast as possible."""
    link, kept = os.path.join(root, "link-out"), os.path.join(root, "kept")
    name = os.path.join(root, "one") if kind == "folder" else os.path.join(root, "one/two/a")
    os.symlink(target, link)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        os.rename(name, kept)
        os.rename(link, name)
        os.rename(name, link)
        os.rename(kept, name)


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_a_link_that_is_swapped_in_never_leads_out(root: Path, kind: str) -> None:
    """A second process swaps; here the file is opened thousands of times."""
    outside = root.parent / "outside"
    (outside / "two").mkdir()
    (outside / "two" / "a").write_bytes(SECRET)
    target = outside if kind == "folder" else outside / "a"
    process = multiprocessing.get_context("spawn").Process(
        target=swap, args=(str(root), str(target), kind, 5)
    )
    process.start()
    outcomes: Counter[str] = Counter()
    checked_by_name = 0
    try:
        while process.is_alive():
            try:
                with open_inside(str(root), "one/two/a") as file:
                    outcomes[file.read().decode()] += 1
            except RecordError as error:
                outcomes[error.rule] += 1
            checked_by_name += escapes_when_checked_by_name(root)
    finally:
        process.join()
    assert process.exitcode == 0
    assert outcomes["secret"] == 0
    assert outcomes["inside"] > 0
    assert outcomes["file.outside"] > 0  # the link was met
    print(f"{kind}: {dict(outcomes)}; checked by name, {checked_by_name} would have escaped")


def escapes_when_checked_by_name(root: Path) -> bool:
    """Whether checking the path first and opening it by name, as other code does, got out."""
    full = root / "one" / "two" / "a"
    try:
        if full.resolve(strict=True).is_relative_to(root):
            return full.read_bytes() == SECRET
    except OSError:
        pass
    return False
