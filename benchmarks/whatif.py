"""Measure `isotrope whatif` over ten million samples, and compare with DuckDB on the same tables.

    python benchmarks/whatif.py                  # 10,000,000 rows, about 3 GB on disk while it runs
    python benchmarks/whatif.py --rows 1000000

The command runs in a process of its own, and its start and imports are part of the time. The peer
is SQL in DuckDB over the same Lance tables, also in a process of its own: the same rules,
duplicates and shares, counted by rule and by drop under both policies. The counts must be equal.
Caps and random samples are measured for isotrope only.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

DROPS = 16
_BATCH = 100_000
_CURRENT = {
    "image_min_side": ("min", 200),
    "image_aspect": ("max", 3),
    "text_chars": ("min", 6),
    "text_words": ("min", 3),
}
_CONFIG = "sources: {made: {path: drops}}\nduplicates: {image: 31}\npolicy:\n"
_LANGUAGES = ["en"] * 10 + ["de", "fr", "es", "ru", "ja", "zh", "pt", "it", "pl", "nl"]
_KEEP_TOP = ("image_min_side.min=256", "image_aesthetic.keep_top=0.3")
CASES: dict[str, tuple[str, ...]] = {
    "a threshold": _KEEP_TOP[:1],
    "and keep_top": _KEEP_TOP,
    "and keep_top by language": (*_KEEP_TOP, "image_aesthetic.by=text_language"),
    "and caps and a sample": (*_KEEP_TOP, "caps.text_language=100000", "sample.share=0.5"),
}
_WITH_PEER = list(CASES)[:3]


def make(root: Path, rows: int) -> None:
    """Write signals and duplicates of a corpus.

    2% of the samples are exact copies of samples of the first drop, 5% are near-duplicates.
    """
    import numpy as np
    import pyarrow as pa

    from pipelines.policy import duplicate_index
    from pipelines.policy.judge import gather_evidence
    from store.tables import schema
    from store.workspace import Workspace

    rules = "".join(f"  {name}: {{{op}: {v}}}\n" for name, (op, v) in _CURRENT.items())
    root.mkdir(parents=True)
    (root / "corpus.yaml").write_text(_CONFIG + rules, encoding="utf-8")
    tables, drop_rows = Workspace.open(root).tables, -(-rows // DROPS)

    def hashed(numbers: Any, salt: int) -> Any:
        """uint64 hashes of integers (splitmix64)."""
        z = (numbers.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15 + 2 * salt)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        return z ^ (z >> np.uint64(29))

    def ids(numbers: Any) -> pa.Array:
        text = np.stack([hashed(numbers, 1), hashed(numbers, 2)], axis=1).tobytes().hex().encode()
        ends = pa.py_buffer((np.arange(len(numbers) + 1) * 32).astype(np.int32))
        return pa.StringArray.from_buffers(len(numbers), ends, pa.py_buffer(text))

    def batches() -> Iterator[Any]:
        """Row numbers, and the number that each row's id and values are made of."""
        for start in range(0, rows, _BATCH):
            row = np.arange(start, min(start + _BATCH, rows))
            yield row, np.where(_is_copy(row, drop_rows), row % drop_rows, row)

    def drops(row: Any) -> pa.Array:
        return pa.array([f"drop-{n:02d}" for n in range(DROPS)]).take(pa.array(row // drop_rows))

    def signals() -> Iterator[pa.RecordBatch]:
        names = list(schema.SIGNAL_TYPES)
        for row, number in batches():
            uniform = {n: hashed(number, 3 + k) / 2.0**64 for k, n in enumerate(names)}
            no_image = uniform["image_pdq_quality"] < 0.03
            columns: dict[str, Any] = {n: pa.array(v, pa.float32()) for n, v in uniform.items()}
            chars = (300 * uniform["text_chars"] ** 2).astype(np.int32)
            side = (64 + 1500 * uniform["image_min_side"]).astype(np.int32)
            columns |= {"text_chars": chars, "text_words": chars // 6}
            columns["image_min_side"] = pa.array(side, mask=no_image)
            columns["image_aspect"] = pa.array(1 + 4 * uniform["image_aspect"] ** 2, pa.float32())
            # With three decimals many values are equal, so the order of ids decides.
            aesthetic = (uniform["image_aesthetic"] + uniform["image_sharpness"]).round(3) * 5
            columns["image_aesthetic"] = pa.array(aesthetic, pa.float32(), mask=no_image)
            language = (len(_LANGUAGES) * uniform["text_language"]).astype(np.int64)
            columns["text_language"] = pa.array(_LANGUAGES).take(pa.array(language))
            arrays: list[Any] = [drops(row), ids(number)]
            for field in list(schema.SIGNALS)[2:]:
                column = columns.get(field.name)
                if column is None or (schema.is_text(field.type) and column.type != pa.string()):
                    column = pa.nulls(len(row), field.type)
                elif isinstance(column, np.ndarray):
                    column = pa.array(column)
                arrays.append(column.cast(field.type, safe=False))
            yield pa.RecordBatch.from_arrays(arrays, schema=schema.SIGNALS)

    def duplicates() -> Iterator[pa.RecordBatch]:
        for row, number in batches():
            copy, near = _is_copy(row, drop_rows), row % 20 == 3
            near &= ~copy & (row > 0)
            duplicate = copy | near
            cluster = np.where(copy, number, row - 1)[duplicate]
            kinds = pa.array(["image", "exact"]).take(pa.array(copy[duplicate].astype(np.int64)))
            similarity = pa.array(np.full(int(duplicate.sum()), 0.9, np.float32))
            for member, drop, is_representative in (
                (number[duplicate], drops(row[duplicate]), False),
                (cluster, drops(cluster), True),
            ):
                representative = pa.array([is_representative] * len(member), pa.bool_())
                arrays = [ids(member), drop, ids(cluster), kinds, representative, similarity]
                yield pa.RecordBatch.from_arrays(arrays, schema=schema.DUPLICATES)

    tables.replace("signals", schema.SIGNALS, signals(), None)
    tables.replace("duplicates", schema.DUPLICATES, duplicates(), None)
    workspace = Workspace.open(root)
    evidence = gather_evidence(workspace, [workspace.config.policy])
    duplicate_index.write_cache(
        tables, evidence.duplicates.index, duplicate_index.tables_digest(tables)
    )  # as decisions do


def _is_copy(row: Any, drop_rows: int) -> Any:
    """Whether a row is an exact copy of a row of the first drop."""
    return (row % 50 == 1) & (row >= drop_rows)


def peer(root: Path, settings: tuple[str, ...]) -> None:
    """Print the counts of DuckDB as JSON: rejected by rule, kept by drop, under both policies."""
    import duckdb
    import lance

    changed = dict(_CURRENT)
    share = by = None
    for setting in settings:
        name, _, value = setting.partition("=")
        signal, _, operator = name.partition(".")
        if operator == "keep_top":
            share = float(value)
        elif operator == "by":
            by = value
        else:
            changed[signal] = (operator, int(value))
    columns = ["drop", "id", *_CURRENT, "image_aesthetic", *([by] if by else [])]
    signals = lance.dataset(str(root / "tables" / "signals.lance")).scanner(columns).to_reader()
    duplicates = lance.dataset(str(root / "tables" / "duplicates.lance")).to_table(
        ["drop", "id", "cluster", "kind"], filter="NOT representative"
    )
    connection = duckdb.connect(config={"threads": os.cpu_count() or 1})
    connection.register("stream", signals)
    connection.execute("CREATE TABLE signals AS FROM stream")
    connection.register("duplicates", duplicates)
    result = {"rejected": {}, "groups": {}}
    for number, (rules, top) in enumerate(((_CURRENT, None), (changed, share))):
        counts = connection.execute(_sql(rules, top, by)).fetchall()
        for drop, rule, count in counts:
            part, key = ("groups", drop) if rule is None else ("rejected", rule)
            result[part].setdefault(key, [0, 0])[number] += count
    print(json.dumps(result))


def _sql(rules: dict[str, tuple[str, int]], share: float | None, by: str | None) -> str:
    signs = {"min": "<", "max": ">"}
    tests = " ".join(f"WHEN {n} {signs[op]} {v} THEN '{n}.{op}'" for n, (op, v) in rules.items())
    among = "why IS NULL AND image_aesthetic IS NOT NULL" + (f", {by}" if by else "")
    out = "false"
    if share is not None:
        window = f"OVER (PARTITION BY {among} ORDER BY image_aesthetic DESC, id, drop)"
        size = f"ceil(round({share} * count(*) OVER (PARTITION BY {among}), 6))"
        out = f"(why IS NULL AND image_aesthetic IS NOT NULL AND row_number() {window} > {size})"
    return f"""
        WITH judged AS (SELECT *, CASE {tests} END AS rule FROM signals),
        lost AS (
            SELECT drop, id, kind FROM duplicates
            WHERE kind = 'exact' OR cluster IN (SELECT id FROM judged WHERE rule IS NULL)
        ),
        remaining AS (
            SELECT judged.*, coalesce(rule, 'duplicate.' || kind) AS why
            FROM judged LEFT JOIN lost USING (drop, id)
        ),
        selected AS (SELECT drop, why, {out} AS out FROM remaining)
        SELECT drop, CASE WHEN out THEN 'image_aesthetic.keep_top' ELSE why END AS rule, count(*)
        FROM selected GROUP BY ALL
    """


class Run(NamedTuple):
    """Wall-clock seconds, processor seconds, peak memory in GB, and the printed JSON."""

    wall: float
    cpu: float
    memory: float
    result: dict[str, Any]


def timed(command: list[str]) -> Run:
    """Run a command that prints JSON."""
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed")
    cpu, memory = usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024 / 1e9
    return Run(time.perf_counter() - start, cpu, memory, json.loads(output))


def _cells(runs: list[Run]) -> str:
    wall, cpu = (statistics.median(r[column] for r in runs) for column in (0, 1))
    return f" {wall:.1f} | {cpu:.1f} | {max(r.memory for r in runs):.2f} |"


def _check_counts(case: str, own: Run, peer_run: Run) -> None:
    for part, expected in peer_run.result.items():
        counts = {k: v[-2:] for k, v in own.result[part].items() if any(v[-2:])}
        if counts != expected:
            raise SystemExit(f"{case}: {part}: isotrope counts {counts}, DuckDB counts {expected}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="folder of the corpus, which is kept")
    parser.add_argument("--make", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--peer", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--set", nargs="*", default=(), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.make:
        return make(options.make, options.rows)
    if options.peer:
        return peer(options.peer, tuple(options.set))
    with tempfile.TemporaryDirectory() as name:
        root = options.folder or Path(name) / "corpus"
        script = [sys.executable, __file__]
        if not root.exists():
            # In a process of its own: the peak memory of a child starts at that of its parent.
            subprocess.run([*script, "--make", str(root), "--rows", str(options.rows)], check=True)
        heads = ["seconds", "processor seconds", "GB"]
        titles = ["change", *heads, *(f"DuckDB: {h}" for h in heads), "DuckDB to isotrope"]
        print(f"| {' | '.join(titles)} |\n|{'---|' * len(titles)}")
        whatif = [sys.executable, "-m", "orchestration.cli.main", "whatif", "--json"]
        whatif += ["--corpus", str(root)]
        for case, settings in CASES.items():
            sets = [word for setting in settings for word in ("--set", setting)]
            runs = [timed([*whatif, *sets]) for _ in range(options.repeats)]
            row = f"| {case} |{_cells(runs)}"
            if case not in _WITH_PEER:
                print(f"{row} | | | |", flush=True)
                continue
            peer_command = [*script, "--peer", str(root), "--set", *settings]
            peer_runs = [timed(peer_command) for _ in range(options.repeats)]
            _check_counts(case, runs[0], peer_runs[0])
            seconds, peer_seconds = (
                statistics.median(r.wall for r in rs) for rs in (runs, peer_runs)
            )
            print(f"{row}{_cells(peer_runs)} {peer_seconds / seconds:.1f} |", flush=True)
        (root / "tables" / "_lost.arrow").unlink()
        runs = [timed(whatif) for _ in range(options.repeats)]
        print(f"| no change, without the duplicate index of decisions |{_cells(runs)} | | | |")
    return None


if __name__ == "__main__":
    main()
