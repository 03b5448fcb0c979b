"""Measure connected components and a selection over very many ids, without tables.

    python -m benchmarks.many_ids --components 1000000 10000000 --selection 10000000 100000000

Components: samples have ids as real ones. One in twenty shares its image with the one before; one
in twenty has a caption of a skewed distribution, so that a few captions are shared by thousands.
The links and components are those of `pipelines.decisions.kept_samples`. Selection: half of the
samples by a signal, then at most as many a drop as half of those, of 100 drops
(`pipelines.policy.quotas`).

Each measurement runs in a process of its own. Seconds are those of the processors; memory is the
peak of the process above that after the imports. The exponent of growth is that of the two largest
sizes.
"""

import argparse
import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa

from assets.metadata.usage import measured
from pipelines.decisions.kept_samples import cluster_samples
from pipelines.engine.duckdb_scratch import create_by_range, database, query_value
from pipelines.engine.scratch_tables import DuckDBTables
from pipelines.policy.column_files import ColumnFiles
from pipelines.policy.quotas import apply_quotas
from pipelines.policy.signal_columns import take_rows
from pipelines.policy.verdicts import Verdicts
from store.config.policy import Policy

_KEPT = """
CREATE TABLE kept AS
SELECT md5('s' || n) AS id,
  md5('i' || if(n % 20 = 1, n - 1, n)) AS image_id,
  md5('t' || if(n % 20 = 7, (pow(hash(n) / 18446744073709551616.0, 3) * {count})::BIGINT, n))
    AS text_id,
  NULL::VARCHAR AS audio_id
FROM range({count}) AS numbers(n)
"""
_DROPS, _BLOCK = 100, 1 << 18


def components(count: int, folder: Path) -> dict[str, float]:
    """Find the components; how many there are, and the size of the largest."""
    with database(folder) as connection:
        connection.execute(_KEPT.format(count=count))
        memory = psutil.Process().memory_info().rss
        with measured() as usage:
            cluster_samples(DuckDBTables(connection))
        sizes = "SELECT count(*) AS size FROM kept WHERE in_range(cluster) GROUP BY cluster"
        create_by_range(connection, "sizes", sizes, "kept")
        found = {
            "components": query_value(connection, "SELECT count(*) FROM sizes"),
            "largest": query_value(connection, "SELECT max(size) FROM sizes"),
        }
    return {"s": usage.processor_seconds, "MB": (usage.peak_bytes - memory) / 1e6} | found


def selection(count: int, folder: Path) -> dict[str, float]:
    """Apply two quotas; how many samples are kept."""
    per_drop = max(1, count // _DROPS // 4)
    policy = Policy.model_validate(
        {"text_chars": {"keep_top": 0.5}, "caps": [{"by": "drop", "most": per_drop}]}
    )
    fields = [("id", pa.binary(16)), ("drop", pa.string()), ("text_chars", pa.int32())]
    samples = ColumnFiles(folder / "columns", _samples(count, pa.schema(fields)), pa.schema(fields))
    memory = psutil.Process().memory_info().rss
    with measured() as usage:
        verdicts = Verdicts(count)
        apply_quotas(policy, samples, lambda rows: take_rows(samples["id"], rows), verdicts)
        kept = int(verdicts.kept.sum())
    peak = (usage.peak_bytes - memory) / 1e6
    return {"s": usage.processor_seconds, "MB": peak, "kept": kept}


def _samples(count: int, columns: pa.Schema) -> Iterator[pa.RecordBatch]:
    drops = pa.array([f"drop-{n:03d}" for n in range(_DROPS)])
    for start in range(0, count, _BLOCK):
        rows = min(_BLOCK, count - start)
        rng = np.random.default_rng(start)
        ids = pa.FixedSizeBinaryArray.from_buffers(
            columns.field("id").type, rows, [None, pa.py_buffer(rng.bytes(16 * rows))]
        )
        drop = drops.take(pa.array(rng.integers(0, _DROPS, rows)))
        chars = pa.array(rng.integers(0, 1 << 20, rows, np.int32))
        yield pa.RecordBatch.from_arrays([ids, drop, chars], schema=columns)


_MEASURES = {"components": components, "selection": selection}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    for name in _MEASURES:
        parser.add_argument(f"--{name}", type=int, nargs="*", default=[1_000_000, 4_000_000])
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        name, count, folder = options.one
        print(json.dumps(_MEASURES[name](int(count), Path(folder))))
        return
    for name in _MEASURES:
        results = []
        for count in getattr(options, name):
            with tempfile.TemporaryDirectory() as folder:
                one = ["--one", name, str(count), folder]
                process = subprocess.run(
                    [sys.executable, "-m", "benchmarks.many_ids", *one],
                    check=True,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            results.append((count, json.loads(process.stdout.splitlines()[-1])))
            figures = ", ".join(f"{n} {v:,.1f}" for n, v in results[-1][1].items())
            print(f"{count:,} {name}: {figures}", flush=True)
        if len(results) > 1:
            (few, of_few), (many, of_many) = results[-2:]
            exponent = math.log(of_many["s"] / of_few["s"]) / math.log(many / few)
            print(f"{name}: exponent {exponent:.2f}", flush=True)


if __name__ == "__main__":
    main()
