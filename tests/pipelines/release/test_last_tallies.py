"""Test queries are ranked by difference as in a scan, and anew where their answers changed."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipelines.release import last_tallies
from pipelines.release.last_tallies import LastTallies
from pipelines.release.query_sets import CORRECTED, RAW, K, QuerySet, item_keys
from pipelines.release.scan_gallery import Scan, tally_gallery
from store import identity
from store.arrow import vector_column
from store.corrections.rank_tally import NO_KEY, RankedItems
from store.metrics.retrieval import Relevant
from store.tables import schema
from store.tables.direction import Direction
from store.tables.lance_tables import Tables
from store.tables.table_version import TableVersion

DIM, QUERIES, ROWS = 8, 40, 300
NAME, BANKS = "gallery__made__image", "banks__made"
DIRECTION = Direction("text", "image", "nnn", {}, "", 0)
COLUMNS = pa.schema(
    [
        pa.field("part_id", pa.string(), False),
        pa.field("cluster", pa.string(), False),
        pa.field("vector", pa.list_(pa.float32(), DIM), False),
        pa.field("bias_text", pa.float32(), False),
        pa.field("hub_text", pa.bool_(), False),
    ]
)


class Made:
    """A gallery of random items, of which the first are the answers of the queries."""

    def __init__(self, root: Path):
        self.rng = np.random.default_rng(0)
        self.tables = Tables(root)
        self.tables.replace(BANKS, schema.banks(DIM), [], "false")
        self.queries = self.unit(QUERIES)
        self.items: dict[int, tuple[np.ndarray, float, str]] = {}
        self.put(range(ROWS))

    def unit(self, rows: int) -> np.ndarray:
        x = self.rng.normal(size=(rows, DIM))
        return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)

    def put(self, numbers: range, removed: range = range(0), cluster: str = "own") -> None:
        """Write items anew, and remove others."""
        for number in removed:
            del self.items[number]
        for number, vector in zip(numbers, self.unit(len(numbers)), strict=True):
            self.items[number] = vector, float(self.rng.normal() / 10), cluster
        rows = [self.items[number] for number in numbers]
        vectors = np.array([v for v, _, _ in rows], np.float32).reshape(-1, DIM)
        columns = [
            pa.array([part(n) for n in numbers], pa.string()),
            pa.array([c for _, _, c in rows], pa.string()),
            vector_column(vectors),
            pa.array([b for _, b, _ in rows], pa.float32()),
            pa.array([False] * len(rows)),
        ]
        batch = pa.RecordBatch.from_arrays(columns, schema=COLUMNS)
        parts = pa.record_batch([pa.array([part(n) for n in removed], pa.string())], ["part_id"])
        self.tables.upsert(NAME, COLUMNS, [batch], "part_id", removed=[parts])

    def scan(self) -> Scan:
        answers = [self.items[n] for n in range(QUERIES)]
        raw = np.array([q @ v for q, (v, _, _) in zip(self.queries, answers, strict=True)])
        bias = np.array([b for _, b, _ in answers])
        relevant = Relevant.of(np.arange(QUERIES))
        keys = item_keys(pa.array([part(n) for n in range(QUERIES)]))
        no_key = np.full(QUERIES, NO_KEY)
        items = {
            name: RankedItems(relevant, scores.astype(np.float32), keys, no_key)
            for name, scores in ((RAW, raw), (CORRECTED, raw - bias))
        }
        in_bank = {DIRECTION.name: np.array(["bank"])}
        return Scan([QuerySet(DIRECTION, self.queries, items)], in_bank, DIM)

    def version(self, name: str) -> TableVersion:
        return TableVersion(self.tables, name, self.tables.version(name))


def part(number: int) -> str:
    return identity.run_key(number)


def test_rankings_follow_the_rows_of_a_gallery(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, scanned = Made(tmp_path), list[int]()

    def counted(gallery, scan, address=None, rows=None):
        if rows is None:
            scanned.append(sum(len(s.vectors) for s in scan.sets))
        return tally_gallery(gallery, scan, address, rows)

    monkeypatch.setattr(last_tallies, "tally_gallery", counted)

    def release() -> int:
        """Rank by difference, compare with a scan; return the queries of whole galleries."""
        scanned.clear()
        gallery, scan = made.version(NAME), made.scan()
        last = LastTallies(made.tables, "made", made.version(BANKS))
        (mine,), (full,) = last.tally("image", gallery, scan), tally_gallery(gallery, scan)
        for name in (RAW, CORRECTED):
            np.testing.assert_array_equal(mine[name].ahead, full[name].ahead)
            np.testing.assert_array_equal(mine[name].cut(K).keys, full[name].cut(K).keys)
        last.write()
        return sum(scanned)

    assert release() == QUERIES  # there is nothing to compare with
    assert release() == 0
    made.put(range(ROWS, ROWS + 30))
    assert release() == 0
    made.put(range(0), removed=range(100, 130))
    assert release() == 0
    made.put(range(200, 220), cluster="bank")  # items that are no longer searched
    assert release() == 0
    made.put(range(3))  # three answers change
    assert release() == 3
    for start in range(130, 190, 20):  # lists become too short
        made.put(range(0), removed=range(start, start + 20))
        release()
    made.put(range(40, 100), removed=range(190, 200))
    made.put(range(210, 330), cluster="own")  # more than half of the gallery
    assert release() == QUERIES
