"""The JSONL reader: lines are records, and a broken line costs itself only."""

import tempfile
import tracemalloc
from itertools import pairwise
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.sources.drops import find_drops
from pipelines.sources.records import Unit
from pipelines.sources.units import list_units
from store.config.limits import Limits
from tests.helpers.manifests import write_jsonl
from tests.helpers.rubbish import (
    bad_rules,
    good_keys,
    gzipped,
    read_folder,
    read_items,
)

LIMITS = Limits()


def test_a_broken_line_costs_only_itself(tmp_path):
    lines = [
        {"text": "one"},
        b"{",
        b"[1]",
        b'"words"',
        b'{"text": "caf\xe9"}',
        b'{"text": NaN}',
        b'{"text": "a", "text": "b"}',
        b'{"a": ' * 100_000,
        b'{"n": ' + b"9" * 5000 + b"}",
        b"",
        b"   ",
        b'{"text": "half \\ud800"}',
        {"text": 5},
        {"text": "two", "key": "k"},
        {"key": "none"},
    ]
    write_jsonl(tmp_path / "m.jsonl", lines)
    items = read_folder(tmp_path)
    rules = [rule for _, rule in bad_rules(items)]
    assert good_keys(items)[0] == "byte-0"
    assert good_keys(items)[-1] == "k"
    assert len(good_keys(items)) == 3  # half a surrogate pair fails later, when the text is checked
    assert rules == ["jsonl.invalid"] * 8 + ["text.column", "record.empty"]


def test_a_long_line_is_skipped_in_little_memory(tmp_path):
    long_line = b'{"text": "' + b"x" * 50_000_000 + b'"}'
    write_jsonl(tmp_path / "m.jsonl", [{"text": "before"}, long_line, {"text": "after"}])
    (drop,) = find_drops("s", str(tmp_path), "source").values()
    tracemalloc.start()
    items = [item for unit in list_units(drop) for item in read_items(unit)]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10_000_000
    assert [r.text for r in items if not hasattr(r, "error")] == [b"before", b"after"]
    (error,) = [item.error for item in items if hasattr(item, "error")]
    assert (error.rule, error.value, error.threshold) == ("jsonl.bytes", len(long_line), 2 << 20)


@settings(max_examples=60)
@given(
    lines=st.lists(
        st.sampled_from([b"", b" ", b'{"text":"x"}', b"{", b"y" * 300, b"\r"]), max_size=30
    ),
    cuts=st.lists(st.floats(0, 1), max_size=6),
    ends=st.booleans(),
)
def test_every_line_belongs_to_exactly_one_range(lines, cuts, ends):
    data = b"\n".join(lines) + (b"\n" if ends else b"")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "m.jsonl").write_bytes(data)
        full = Unit("d", "u", "jsonl", folder, ("m.jsonl",))
        boundaries = sorted({0, len(data), *(int(c * len(data)) for c in cuts)})
        limits = Limits(text_bytes=100, meta_bytes=100)
        parts = [
            item
            for span in pairwise(boundaries)
            for item in read_items(Unit("d", "u", "jsonl", folder, ("m.jsonl",), span), limits)
        ]
        expected = read_items(full, limits)
        assert [p.key for p in parts] == [e.key for e in expected]
        assert len(expected) == sum(1 for line in lines if line.strip())


def test_a_gzipped_file_is_one_unit_and_its_truncation_is_reported(tmp_path):
    data = gzipped(b"".join(b'{"text": "%d"}\n' % n for n in range(2000)))
    (tmp_path / "m.jsonl.gz").write_bytes(data)
    assert len(good_keys(read_folder(tmp_path))) == 2000
    (tmp_path / "m.jsonl.gz").write_bytes(data[:-2000])
    items = read_folder(tmp_path)
    assert 0 < len(good_keys(items)) < 2000
    assert bad_rules(items)[-1][1] == "jsonl.truncated"
