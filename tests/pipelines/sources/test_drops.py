"""What a source delivers: its drops, their units, and the loose files in them."""

import os

import pytest

from pipelines.sources.drops import find_drops, latest_change, listing_hash
from pipelines.sources.units import list_units
from store.config.limits import Limits
from store.errors import SourceError
from tests.helpers.rubbish import bad, good, gzipped, items, tar_bytes

SHARD = tar_bytes([("a.png", b"P")])


def only_unit(folder, **options):
    (drop,) = find_drops("source", str(folder), "source", **options).values()
    (unit,) = list_units(drop)
    return unit


def test_files_of_one_folder_with_one_stem_are_one_record(tmp_path):
    for name in ("a/Mr. Cat.png", "a/Mr. Cat.txt", "b/Mr. Cat.png", "top.wav", ".hidden.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    found = items(only_unit(tmp_path))
    assert [(r.source, r.key) for r in found] == [
        ("a", "a/Mr. Cat"),
        ("b", "b/Mr. Cat"),
        (".", "top"),
    ]
    assert found[0].text == b"a/Mr. Cat.txt"


def test_links_are_followed_inside_the_drop_only(tmp_path):
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
    found = items(only_unit(drop))
    assert good(found) == ["a", "inside"]
    assert dict(bad(found)) == {
        "broken": "file.unreadable",
        "folder": "file.outside",
        "loop": "file.unreadable",
        "notes": "record.empty",
        "outside": "file.outside",
        "pipe": "file.not_a_file",
    }


def test_a_file_that_went_or_is_too_large_costs_its_record(tmp_path):
    for name in ("a.png", "big.png", "gone.png"):
        (tmp_path / name).write_bytes(b"x" * (1 + 99 * (name == "big.png")))
    unit = only_unit(tmp_path)
    (tmp_path / "gone.png").unlink()
    found = items(unit, Limits(image_bytes=50))
    assert good(found) == ["a"]
    assert dict(bad(found)) == {"big": "image.bytes", "gone": "file.unreadable"}


def test_many_files_come_in_units_of_512_samples(tmp_path):
    for n in range(1100):
        (tmp_path / f"{n:04d}.txt").write_bytes(b"x")
        (tmp_path / f"{n:04d}.json").write_bytes(b"{}")
    (drop,) = find_drops("s", str(tmp_path)).values()
    units = list_units(drop)
    assert [u.name for u in units] == ["files-000000", "files-000001", "files-000002"]
    assert [len(items(u)) for u in units] == [512, 512, 76]


# Drops


def source(tmp_path):
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
    path = str(source(tmp_path))
    drops = find_drops("mine", path)
    names = {name: [u.name for u in list_units(drop)] for name, drop in drops.items()}
    assert names == {
        "one": ["files-000000"],
        "two": ["shard-0.tar", "shard-1.tar"],
        "three": ["three.tar.gz"],
        "mine": ["files-000000"],
    }
    whole = find_drops("mine", path, "source")
    assert list(whole) == ["mine"]
    assert [u.name for u in list_units(whole["mine"])][:2] == ["three.tar.gz", "two/shard-0.tar"]


def test_a_linked_folder_is_a_drop_that_says_why_it_fails(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.png").write_bytes(b"P")
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "linked").symlink_to(tmp_path / "elsewhere")
    drops = find_drops("s", str(tmp_path / "src"))
    (unit,) = list_units(drops["linked"])
    assert bad(items(unit)) == [("linked", "file.outside")]


@pytest.mark.parametrize("path", ["missing", "file.txt", "empty", "memory://nothing/there"])
def test_a_source_that_is_missing_or_empty_says_so(tmp_path, path):
    (tmp_path / "file.txt").write_text("x")
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match="sub-folders"):
        find_drops("mine", path if "://" in path else str(tmp_path / path))


def test_two_drops_of_one_name_are_refused(tmp_path):
    (tmp_path / "a.tar").write_bytes(SHARD)
    (tmp_path / "a.tgz").write_bytes(gzipped(SHARD))
    with pytest.raises(SourceError, match="drop_by: source"):
        find_drops("mine", str(tmp_path))


def test_a_drop_that_was_emptied_says_so(tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a.png").write_bytes(b"P")
    drop = find_drops("s", str(tmp_path))["d"]
    (tmp_path / "d" / "a.png").unlink()
    with pytest.raises(SourceError, match="no files"):
        list_units(drop)
    (tmp_path / "d").rmdir()
    for look in (list_units, listing_hash, latest_change):
        with pytest.raises(SourceError):
            look(drop)


def test_the_listing_hash_knows_contents_and_times_and_not_the_place(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    for root in (first, second):
        (root / "d").mkdir(parents=True)
        (root / "d" / "a.png").write_bytes(b"P")
        os.utime(root / "d" / "a.png", ns=(10**18, 10**18))
    one, two = (find_drops("s", str(root))["d"] for root in (first, second))
    assert listing_hash(one) == listing_hash(two)
    os.utime(second / "d" / "a.png", ns=(10**18, 10**18 + 1))
    assert listing_hash(one) != listing_hash(two)
    (first / "d" / "b.png").write_bytes(b"P")
    assert latest_change(one) == pytest.approx((first / "d" / "b.png").stat().st_mtime, abs=0.1)
