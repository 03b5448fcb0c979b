"""The WebDataset reader: counts equal what is read, and bad records cost no good ones."""

import os
import random
import tarfile
import tempfile
import tracemalloc
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.sources.read import count_records, read_unit
from pipelines.sources.records import BadRecord, Record, printable
from store.config.limits import Limits
from tests.helpers import rubbish
from tests.helpers.rubbish import (
    TAR_END,
    bad_rules,
    good_keys,
    gzipped,
    padded,
    read_items,
    shard,
    special_member,
    tar_bytes,
    tar_header,
)

LIMITS = Limits()


def test_consecutive_members_with_one_key_are_one_record(tmp_path):
    data = tar_bytes(
        [
            ("a/tiger.png", b"P"),
            ("a/tiger.txt", b"A tiger."),
            ("a/tiger.seg.png", b"not the picture"),
            ("a/tiger.OGG", b"O"),
            ("a/tiger.json", b"{}"),
            ("b/tiger.cls", b"3"),
            ("b/tiger.jpg", b"J"),
        ]
    )
    first, second = read_items(shard(tmp_path, data, "sub/s.tar"))
    assert first == Record(
        "sub/s.tar", "a/tiger", b"P", "a/tiger.png", b"O", "a/tiger.OGG", b"A tiger.", b"{}"
    )
    assert (second.key, second.image) == ("b/tiger", b"J")


@pytest.mark.parametrize("order", [0, 1])
def test_of_two_images_the_first_in_the_list_of_extensions_is_taken(tmp_path, order):
    members = [("x.jpg", b"J"), ("x.png", b"P")][:: 1 - 2 * order]
    (record,) = read_items(shard(tmp_path, tar_bytes(members)))
    assert (record.image, record.image_name) == (b"P", "x.png")


def test_folders_and_hidden_members_are_not_records(tmp_path):
    folder = tarfile.TarInfo("a")
    folder.type = tarfile.DIRTYPE
    members = [(folder, b""), ("a/x.png", b"P"), ("a/._x.png", b"mac"), ("a/x.txt", b"T")]
    members += [(".git/y.png", b"P"), ("./z.png", b"P")]
    items = read_items(shard(tmp_path, tar_bytes(members)))
    assert good_keys(items) == ["a/x", "z"]
    assert items[0].text == b"T"


def test_a_record_without_a_supported_extension_is_empty(tmp_path):
    items = read_items(
        shard(tmp_path, tar_bytes([("x.xyz", b"1"), ("y.png", b"P"), ("plain", b"2")]))
    )
    assert good_keys(items) == ["y"]
    assert bad_rules(items) == [("x", "record.empty"), ("plain", "record.empty")]


def test_links_devices_and_pipes_cost_only_their_record(tmp_path):
    types = [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE]
    members = [("a.png", b"P")]
    for n, type in enumerate(types):
        members += [special_member(f"bad{n}.png", type), (f"good{n}.png", b"P")]
    items = read_items(shard(tmp_path, tar_bytes(members)))
    assert good_keys(items) == ["a"] + [f"good{n}" for n in range(5)]
    assert bad_rules(items) == [(f"bad{n}", "tar.not_a_file") for n in range(5)]


def test_a_part_over_its_limit_is_rejected_and_not_read(tmp_path):
    members = [("a.png", b"P"), ("big.png", b"x" * 5_000_000), ("big.txt", b"T"), ("c.png", b"P")]
    unit = shard(tmp_path, tar_bytes(members))
    tracemalloc.start()
    items = read_items(unit, Limits(image_bytes=1000))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000
    assert good_keys(items) == ["a", "c"]
    (error,) = [item.error for item in items if isinstance(item, BadRecord)]
    assert (error.rule, error.value, error.threshold) == ("image.bytes", 5_000_000, 1000)


@pytest.mark.parametrize(
    "name",
    [
        b"../../etc/passwd.png",
        b"/etc/passwd.png",
        b"caf\xe9.png",
        b"a\x1b[31m\nred.png",
        b"back\\slash.png",
        "\u202egnp.\u00fc.png".encode(),
    ],
)
def test_hostile_names_become_keys_and_create_no_files(tmp_path, name):
    inside = tmp_path / "in"
    data = tar_header(name, 1) + padded(b"P") + tar_header(b"next.png", 1) + padded(b"P") + TAR_END
    items = read_items(shard(inside, data))
    assert items[-1].key == "next"
    assert len(items) == 2
    assert os.listdir(tmp_path) == ["in"]
    assert os.listdir(inside) == ["shard.tar"]


def test_escaped_names_are_distinct_and_bounded():
    names = [b"a\n", b"a\\u{a}", b"\xff", b"\\xff", b"x" * 600, b"x" * 601, "ü".encode()]
    shown = [printable(name) for name in names]
    assert len(set(shown)) == len(names)
    assert all(name.isprintable() and len(name) <= 512 for name in shown)
    assert shown[-1] == "ü"


@pytest.mark.parametrize("format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT])
def test_long_names_in_every_tar_format(tmp_path, format):
    long = "/".join(["folder"] * 20) + "/" + "n" * 90
    name = long + "ü.png" if format != tarfile.USTAR_FORMAT else long + ".png"
    items = read_items(shard(tmp_path, tar_bytes([(name, b"P"), ("b.png", b"P")], format=format)))
    assert good_keys(items) == [name.removesuffix(".png"), "b"]


def test_a_too_long_extended_header_is_skipped(tmp_path):
    body = b"9" * (2 * 1024 * 1024)
    data = (
        tar_header(b"x", len(body), b"x")
        + padded(body)
        + tar_header(b"a.png", 1)
        + padded(b"P")
        + TAR_END
    )
    items = read_items(shard(tmp_path, data))
    assert good_keys(items) == ["a"]
    assert [rule for _, rule in bad_rules(items)] == ["tar.corrupt"]


@pytest.mark.parametrize(
    "size", [b"\x80" + b"\xff" * 11, b"\xff" * 12, b"77777777777\0", b"zzzzzzzzzzz\0"]
)
def test_wrong_sizes_in_headers_are_reported(tmp_path, size):
    data = tar_bytes([("a.png", b"P")])[:1024] + tar_header(b"b.png", size) + padded(b"P")
    items = read_items(shard(tmp_path, data + tar_header(b"c.png", 1) + padded(b"P") + TAR_END))
    assert good_keys(items)[0] == "a"
    assert bad_rules(items)


def test_a_damaged_header_costs_only_its_member(tmp_path):
    data = bytearray(tar_bytes([(f"{n}.png", b"P" * 700) for n in range(5)]))
    position = 2 * (512 + 1024)
    data[position : position + 512] = b"\xaa" * 512
    items = read_items(shard(tmp_path, bytes(data)))
    assert good_keys(items) == ["0", "1", "3", "4"]
    assert bad_rules(items) == [(f"byte-{position}", "tar.corrupt")]


def test_concatenated_archives_are_read_to_the_end(tmp_path):
    data = tar_bytes([("a.png", b"P")]) + tar_bytes([("b.png", b"P")])
    assert good_keys(read_items(shard(tmp_path, data))) == ["a", "b"]


NOT_TARS = [b"", bytes(100), b"no tar at all", random.Random(0).randbytes(5000), b"\x1f\x8b"]


@pytest.mark.parametrize("data", NOT_TARS, ids=["empty", "zeros", "words", "noise", "gzip"])
def test_a_file_that_is_not_a_tar_is_one_bad_record(tmp_path, data):
    assert bad_rules(read_items(shard(tmp_path, data))) == [("byte-0", "tar.unreadable")]


def test_an_empty_tar_has_no_records(tmp_path):
    assert read_items(shard(tmp_path, tar_bytes([]))) == []


def test_a_missing_shard_is_one_bad_record(tmp_path):
    unit = shard(tmp_path, b"")
    (tmp_path / "shard.tar").unlink()
    assert bad_rules(read_items(unit)) == [("byte-0", "file.unreadable")]


def test_a_pipe_instead_of_a_shard_does_not_block(tmp_path):
    unit = shard(tmp_path, b"")
    (tmp_path / "shard.tar").unlink()
    os.mkfifo(tmp_path / "shard.tar")
    assert bad_rules(read_items(unit)) == [("byte-0", "file.not_a_file")]


SAMPLE = tar_bytes(
    [
        (f"{n}.{e}", bytes([65 + n]) * size)
        for n, size in enumerate([0, 1, 511, 512, 513, 1500])
        for e in ("png", "txt")
    ],
    format=tarfile.PAX_FORMAT,
)


@pytest.mark.parametrize("compressed", [False, True])
def test_a_truncated_tar_gives_all_records_before_the_cut(tmp_path, compressed):
    data = gzipped(SAMPLE) if compressed else SAMPLE
    all_items = read_items(shard(tmp_path, data))
    assert good_keys(all_items) == [str(n) for n in range(6)]
    before = -1
    for cut in range(0, len(data), 1 if compressed else 37):
        items = read_items(shard(tmp_path, data[:cut]))
        kept = [item for item in items if isinstance(item, Record)]
        assert len(kept) >= before  # a longer file never gives fewer records
        before = max(before, len([k for k in kept if k in all_items]))
        partial = [k for k in kept if k not in all_items]
        assert len(partial) <= 1  # cut between its parts; a second item reports the truncation
        assert len(bad_rules(items)) == 1 or kept == all_items


@settings(max_examples=60)
@given(
    members=st.lists(
        st.tuples(
            st.sampled_from(["a", "b", "d/c", "../e", "f" * 120]),
            st.sampled_from(["png", "txt", "json", "xyz", "seg.png", ""]),
            st.binary(max_size=1200),
        ),
        max_size=12,
    ),
    cut=st.floats(0, 1),
    damage=st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), max_size=3),
    compressed=st.booleans(),
    limit=st.integers(1, 1200),
)
def test_counts_equal_what_is_read_in_damaged_tars(members, cut, damage, compressed, limit):
    data = bytearray(tar_bytes([(f"{k}.{e}", d) for k, e, d in members]))
    if compressed:
        data = bytearray(gzipped(bytes(data)))
    for position, value in damage:
        data[int(position * len(data))] = value
    with tempfile.TemporaryDirectory() as folder:
        unit = shard(Path(folder), bytes(data[: int(cut * len(data))]))
        read_items(unit, Limits(image_bytes=limit))


@settings(max_examples=40)
@given(seed=st.integers(0, 10_000), bad_at=st.integers(0, 9))
def test_all_records_beside_a_bad_one_are_read(seed, bad_at):
    rng = random.Random(seed)
    members = [(f"{n}.png", rng.randbytes(rng.randrange(2000))) for n in range(10)]
    members[bad_at] = rng.choice(
        [
            (f"{bad_at}.zip", b"x"),
            special_member(f"{bad_at}.png", b"2"),
            (f"{bad_at}.png", b"x" * 3000),
        ]
    )
    with tempfile.TemporaryDirectory() as folder:
        items = read_items(shard(Path(folder), tar_bytes(members)), Limits(image_bytes=2500))
    assert good_keys(items) == [str(n) for n in range(10) if n != bad_at]
    assert [key for key, _ in bad_rules(items)] == [str(bad_at)]


def test_valid_tars_are_read_as_the_standard_library_reads_them(tmp_path):
    rng = random.Random(3)
    members = [(f"d{n % 7}/{n}.png", rng.randbytes(n * 13 % 3000)) for n in range(300)]
    for mode, name in (("w", "a.tar"), ("w:gz", "a.tgz")):
        with tarfile.open(tmp_path / name, mode) as tar:
            for member, data in members:
                rubbish.add_to_tar(tar, member, data)
        items = read_items(shard(tmp_path, (tmp_path / name).read_bytes(), name))
        with closing(tarfile.open(tmp_path / name)) as tar:
            expected = {m.name: tar.extractfile(m).read() for m in tar}
        assert {item.image_name: item.image for item in items} == expected


def test_memory_does_not_grow_with_the_number_of_members(tmp_path):
    path = tmp_path / "many.tar"
    with tarfile.open(path, "w") as tar:
        for n in range(5_000):
            rubbish.add_to_tar(tar, f"{n}.txt", b"x")
            tar.members = []  # tarfile's writer keeps all members in memory
    unit = shard(tmp_path, path.read_bytes(), "many.tar")
    tracemalloc.start()
    assert sum(1 for _ in read_unit(unit, LIMITS)) == count_records(unit) == 5_000
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 500_000
