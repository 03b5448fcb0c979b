"""Measure what the metadata of a table of very many fragments costs.

    python -m benchmarks.fragments --sizes 10000 100000 1000000

A table gets one fragment of 1,000 rows, and then the metadata of as many as asked for, which all
name the same data file: the manifest is that of a table of a billion rows, without its bytes. Each
size is made in a process of its own, and read in others, one for each line. Seconds are those of
the processors; memory is the peak of the process above that after the imports.
"""

import argparse
import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import lance
import psutil
import pyarrow as pa

from assets.metadata.usage import measured
from store.tables.formats import with_format
from store.tables.lance_tables import Tables
from store.tables.table_version import take_rows

_NAME, _ROWS, _COMMITTED = "compared", 1000, 100_000
_SCHEMA = pa.schema([pa.field("kind", pa.string()), pa.field("number", pa.int64())])


def make(tables: Tables, count: int) -> None:
    """Make the table, a hundred thousand fragments a commit."""
    uri = tables.uri(_NAME)
    columns = [pa.array(["a"] * _ROWS), pa.array(range(_ROWS))]
    rows = pa.table(columns, schema=with_format(_SCHEMA))
    dataset = lance.write_dataset(rows, uri)
    (fragment,) = dataset.get_fragments()
    for start in range(1, count, _COMMITTED):
        added = [fragment.metadata] * min(_COMMITTED, count - start)
        operation = lance.LanceOperation.Append(added)
        dataset = lance.LanceDataset.commit(uri, operation, read_version=dataset.version)


def _open(tables: Tables) -> None:
    tables.open(_NAME)


def _count(tables: Tables) -> None:
    tables.open(_NAME).count_rows()


def _take(tables: Tables) -> None:
    dataset = tables.open(_NAME)
    numbers = take_rows(dataset, [(1000 << 32) + 5, 7], ["number"])["number"]
    assert numbers.to_pylist() == [5, 7]


def _append(tables: Tables) -> None:
    rows = pa.table([["b"], [0]], schema=_SCHEMA)
    tables.replace(_NAME, _SCHEMA, rows.to_batches(), "false")


def _nothing(tables: Tables) -> None:
    """What the process takes without a table."""


_ACTIONS: dict[str, Callable[[Tables], None]] = {
    "nothing": _nothing,
    "open": _open,
    "count rows": _count,
    "take rows": _take,
    "add a row": _append,
}


def measure(tables: Tables, action: str) -> dict[str, float]:
    before = psutil.Process().memory_info().rss
    with measured() as usage:
        _ACTIONS[action](tables)
    return {"s": usage.processor_seconds, "MB": (usage.peak_bytes - before) / 1e6}


def run(folder: str, what: str) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.fragments", "--one", folder, what]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        tables, what = Tables(options.one[0]), options.one[1]
        if what.isdecimal():
            make(tables, int(what))
            print(json.dumps({}))
        else:
            print(json.dumps(measure(tables, what)))
        return
    print("| fragments | manifest, MB | action | s | MB |\n|---|---|---|---|---|")
    costs: dict[str, list[float]] = {}
    for size in options.sizes:
        with tempfile.TemporaryDirectory() as folder:
            run(folder, str(size))
            manifests = Path(folder, f"{_NAME}.lance", "_versions").glob("*.manifest")
            manifest = max(path.stat().st_size for path in manifests) / 1e6
            for action in _ACTIONS:
                found = run(folder, action)
                costs.setdefault(action, []).append(found["s"])
                cells = f"{size:,} | {manifest:,.1f} | {action} | {found['s']:,.2f}"
                print(f"| {cells} | {found['MB']:,.0f} |", flush=True)
    if len(options.sizes) > 1:
        growth = math.log(options.sizes[-1] / options.sizes[-2])
        for action, seconds in costs.items():
            exponent = math.log(max(seconds[-1], 1e-3) / max(seconds[-2], 1e-3)) / growth
            print(f"{action}: exponent {exponent:.2f}")


if __name__ == "__main__":
    main()
