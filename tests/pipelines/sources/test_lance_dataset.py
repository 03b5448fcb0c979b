"""The reader of Lance datasets: fragments are units, and a broken file costs its fragment only."""

import lance
import pyarrow as pa

from pipelines.sources.drops import find_drops
from pipelines.sources.units import list_units
from store.config.limits import Limits
from tests.helpers.manifests import write_manifest
from tests.helpers.rubbish import (
    bad_rules,
    good_keys,
    read_folder,
    read_items,
)

LIMITS = Limits()


def test_fragments_are_read_at_the_listed_version(tmp_path):
    path = str(tmp_path / "m.lance")
    for start in (0, 3000, 6000):
        rows = pa.table(
            {"key": [f"k{n}" for n in range(start, start + 3000)], "text": ["x"] * 3000}
        )
        lance.write_dataset(rows, path, mode="append" if start else "create")
    lance.dataset(path).delete("key IN ('k1', 'k3001')")
    (drop,) = find_drops("s", str(tmp_path), "source").values()
    units = list_units(drop)
    assert [u.span for u in units] == [(0, 1), (1, 2), (2, 3)]
    lance.dataset(path).delete("key = 'k5'")
    items = [item for unit in units for item in read_items(unit)]
    assert good_keys(items) == [f"k{n}" for n in range(9000) if n not in (1, 3001)]


def test_a_broken_data_file_costs_only_its_fragment(tmp_path):
    path = tmp_path / "m.lance"
    for n in range(3):
        table = pa.table({"key": [f"{n}-{m}" for m in range(20)], "text": ["x"] * 20})
        lance.write_dataset(table, str(path), mode="append" if n else "create")
    files = [f.data_files()[0].path for f in lance.dataset(str(path)).get_fragments()]
    (path / "data" / files[1]).write_bytes(b"nothing")
    items = read_folder(tmp_path)
    assert good_keys(items) == [f"{n}-{m}" for n in (0, 2) for m in range(20)]
    assert {rule for _, rule in bad_rules(items)} == {"lance.corrupt"}
    assert len(bad_rules(items)) == 20
    for version in (path / "_versions").iterdir():
        version.write_bytes(b"nothing")
    assert bad_rules(read_folder(tmp_path)) == [("whole-file", "lance.unreadable")]


def test_links_in_a_lance_dataset_are_not_followed(tmp_path):
    write_manifest(tmp_path / "elsewhere.lance", [{"text": "secret"}])
    drop = tmp_path / "drop"
    drop.mkdir()
    write_manifest(drop / "m.lance", [{"text": "own"}])
    (file,) = (drop / "m.lance" / "data").iterdir()
    (other,) = (tmp_path / "elsewhere.lance" / "data").iterdir()
    file.unlink()
    file.symlink_to(other)
    assert bad_rules(read_folder(drop)) == [("whole-file", "file.outside")]
    (drop / "linked.lance").symlink_to(tmp_path / "elsewhere.lance")
    assert ("linked", "file.outside") in bad_rules(read_folder(drop))
