"""The drops of a source, their units, and loose files."""

import hashlib
import os
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.sources.drops import find_drops, listing_hash
from pipelines.sources.units import list_units
from store.config.limits import Limits
from store.errors import SourceError
from tests.helpers.rubbish import bad_rules, good_keys, gzipped, read_items, tar_bytes

SHARD = tar_bytes([("a.png", b"P")])


def only_unit(folder, **options):
    (drop,) = find_drops("source", str(folder), "source", **options).values()
    (unit,) = list_units(drop)
    return unit


def test_files_of_one_folder_with_one_stem_are_one_record(tmp_path):
    for name in ("a/Mr. Cat.png", "a/Mr. Cat.txt", "b/Mr. Cat.png", "top.wav", ".hidden.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    items = read_items(only_unit(tmp_path))
    assert [(r.source, r.key) for r in items] == [
        ("a", "a/Mr. Cat"),
        ("b", "b/Mr. Cat"),
        (".", "top"),
    ]
    assert items[0].text == b"a/Mr. Cat.txt"


def test_links_are_followed_only_inside_the_drop(tmp_path):
    drop = tmp_path / "drop"
    drop.mkdir()
    (tmp_path / "secret.png").write_bytes(b"S")
    (drop / "a.png").write_bytes(b"P")
    (drop / "inside.png").symlink_to(drop / "a.png")
    (drop / "outside.png").symlink_to(tmp_path / "secret.png")
    (drop / "broken.png").symlink_to(drop / "nothing")
    (drop / "loop.png").symlink_to(drop / "loop.png")
    (drop / "folder").symlink_to(tmp_path)
    os.mkfifo(drop / "pipe.png")
    (drop / "is_folder.png").mkdir()
    (drop / "notes.md").write_text("nothing to read")
    items = read_items(only_unit(drop))
    assert good_keys(items) == ["a", "inside"]
    assert dict(bad_rules(items)) == {
        "broken": "file.unreadable",
        "folder": "file.outside",
        "loop": "file.unreadable",
        "notes": "record.empty",
        "outside": "file.outside",
        "pipe": "file.not_a_file",
    }


def test_a_missing_or_too_large_file_costs_only_its_record(tmp_path):
    for name in ("a.png", "big.png", "gone.png"):
        (tmp_path / name).write_bytes(b"x" * (1 + 99 * (name == "big.png")))
    unit = only_unit(tmp_path)
    (tmp_path / "gone.png").unlink()
    items = read_items(unit, Limits(image_bytes=50))
    assert good_keys(items) == ["a"]
    assert dict(bad_rules(items)) == {"big": "image.bytes", "gone": "file.unreadable"}


def test_loose_files_are_read_in_units_of_512_samples(tmp_path):
    for n in range(1100):
        (tmp_path / f"{n:04d}.txt").write_bytes(b"x")
        (tmp_path / f"{n:04d}.json").write_bytes(b"{}")
    (drop,) = find_drops("s", str(tmp_path)).values()
    units = list_units(drop)
    assert [u.name for u in units] == ["files-000000", "files-000001", "files-000002"]
    assert [len(read_items(u)) for u in units] == [512, 512, 76]


# Drops


def write_source(tmp_path):
    """A source with drops of several kinds, and files and folders that are none."""
    for name in ("one/deep/a.png", "two/shard-1.tar", "two/shard-0.tar", "three.tar.gz", "x.jpg"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzipped(SHARD) if "tar" in name else b"P")
    (tmp_path / "empty").mkdir()
    (tmp_path / "README.md").write_text("words")
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "y.png").write_bytes(b"P")
    return tmp_path


def test_drops_by_entry_and_by_source(tmp_path):
    path = str(write_source(tmp_path))
    drops = find_drops("mine", path)
    names = {name: [u.name for u in list_units(drop)] for name, drop in drops.items()}
    assert names == {
        "one": ["files-000000"],
        "two": ["shard-0.tar", "shard-1.tar"],
        "three": ["three.tar.gz"],
        "mine": ["files-000000"],
    }
    for name, drop in drops.items():
        assert find_drops("mine", path, only=name) == {name: drop}
    assert find_drops("mine", path, only="other") == {}
    as_one = find_drops("mine", path, "source")
    assert list(as_one) == ["mine"]
    assert [u.name for u in list_units(as_one["mine"])][:2] == ["three.tar.gz", "two/shard-0.tar"]


def test_a_linked_folder_is_a_drop_with_one_failed_record(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.png").write_bytes(b"P")
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "linked").symlink_to(tmp_path / "elsewhere")
    drops = find_drops("s", str(tmp_path / "src"))
    (unit,) = list_units(drops["linked"])
    assert bad_rules(read_items(unit)) == [("linked", "file.outside")]


@pytest.mark.parametrize("path", ["missing", "file.txt", "empty", "memory://nothing/there"])
def test_a_missing_or_empty_source_is_refused(tmp_path, path):
    (tmp_path / "file.txt").write_text("x")
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match="sub-folders"):
        find_drops("mine", path if "://" in path else str(tmp_path / path))


def test_two_drops_with_one_name_are_refused(tmp_path):
    (tmp_path / "a.tar").write_bytes(SHARD)
    (tmp_path / "a.tgz").write_bytes(gzipped(SHARD))
    with pytest.raises(SourceError, match="drop_by: source"):
        find_drops("mine", str(tmp_path))


def test_an_emptied_drop_is_refused(tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a.png").write_bytes(b"P")
    drop = find_drops("s", str(tmp_path))["d"]
    (tmp_path / "d" / "a.png").unlink()
    with pytest.raises(SourceError, match="no files"):
        list_units(drop)
    (tmp_path / "d").rmdir()
    for function in (list_units, listing_hash):
        with pytest.raises(SourceError):
            function(drop)


def test_the_listing_hash_depends_on_files_and_times_but_not_on_the_root(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    for root in (first, second):
        (root / "d").mkdir(parents=True)
        (root / "d" / "a.png").write_bytes(b"P")
        os.utime(root / "d" / "a.png", ns=(10**18, 10**18))
    one, two = (find_drops("s", str(root))["d"] for root in (first, second))
    assert listing_hash(one) == listing_hash(two)
    os.utime(second / "d" / "a.png", ns=(10**18, 10**18 + 1))
    assert listing_hash(one) != listing_hash(two)


NAMES = st.text("a-/.!é", min_size=1, max_size=6).filter(
    lambda path: all(part and part[0] != "." for part in path.split("/"))
)


@given(st.sets(NAMES, min_size=1, max_size=12), st.booleans())
def test_the_listing_hash_is_that_of_the_sorted_paths(paths, of_source):
    """The folders are listed one after another, and no list of all paths is made."""
    with TemporaryDirectory() as root:
        for path in sorted(paths, key=len, reverse=True):
            file = os.path.join(root, path)
            if not os.path.exists(file):
                os.makedirs(os.path.dirname(file), exist_ok=True)
                with open(file + ".png", "wb") as stream:
                    stream.write(path.encode())
                os.utime(file + ".png", ns=(10**18, 10**18))
        drops = find_drops("s", root, "source" if of_source else "entry").values()
        for drop in drops:
            folders = os.walk(drop.root)
            files = [os.path.join(at, name) for at, _, names in folders for name in names]
            relative = {os.path.relpath(file, drop.root): os.path.getsize(file) for file in files}
            digest = hashlib.sha256()
            for path in sorted(relative):
                if drop.entries == ("",) or path.partition("/")[0] in drop.entries:
                    digest.update(f"{path}\0{relative[path]}\0{10**18}\n".encode())
            assert listing_hash(drop) == digest.hexdigest()
