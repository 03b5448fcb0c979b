"""`isotrope whatif` over ten million samples: seconds and memory, beside DuckDB on the same table.

    python benchmarks/whatif.py                  # 10,000,000 rows, about 3 GB on disk while it runs
    python benchmarks/whatif.py --rows 1000000

What is timed is the command as a person types it, in a process of its own, start and imports
included. The peer is SQL in DuckDB over the same Lance tables, in a process of its own too: the
same rules, duplicates and shares, counted by rule and by drop under both policies. The counts must
be equal. Caps and samples have no peer: their numbers are isotrope's own.
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
_TODAY = {
    "image_min_side": ("min", 200),
    "image_aspect": ("max", 3),
    "text_chars": ("min", 6),
    "text_words": ("min", 3),
}
_CONFIG = "sources: {made: {path: drops}}\nduplicates: {image: 31}\npolicy:\n"
_LANGUAGES = ["en"] * 10 + ["de", "fr", "es", "ru", "ja", "zh", "pt", "it", "pl", "nl"]
_TOP = ("image_min_side.min=256", "image_aesthetic.keep_top=0.3")
CASES: dict[str, tuple[str, ...]] = {
    "a threshold": _TOP[:1],
    "and keep_top": _TOP,
    "and keep_top by language": (*_TOP, "image_aesthetic.by=text_language"),
    "and caps and a sample": (*_TOP, "caps.text_language=100000", "sample.share=0.5"),
}
_PEERS = list(CASES)[:3]


def make(root: Path, rows: int) -> None:
    """A corpus's signals and duplicates: 2% are copies from the first drop, 5% near to another."""
    import numpy as np
    import pyarrow as pa

    from pipelines.policy import duplicate_index
    from pipelines.policy.judge import gather
    from store.tables import schema
    from store.workspace import Workspace

    rules = "".join(f"  {name}: {{{op}: {v}}}\n" for name, (op, v) in _TODAY.items())
    root.mkdir(parents=True)
    (root / "corpus.yaml").write_text(_CONFIG + rules, encoding="utf-8")
    tables, each = Workspace.open(root).tables, -(-rows // DROPS)

    def mixed(numbers: Any, salt: int) -> Any:
        z = (numbers.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15 + 2 * salt)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        return z ^ (z >> np.uint64(29))

    def ids(numbers: Any) -> pa.Array:
        text = np.stack([mixed(numbers, 1), mixed(numbers, 2)], axis=1).tobytes().hex().encode()
        ends = pa.py_buffer((np.arange(len(numbers) + 1) * 32).astype(np.int32))
        return pa.StringArray.from_buffers(len(numbers), ends, pa.py_buffer(text))

    def batches() -> Iterator[Any]:
        for start in range(0, rows, _BATCH):
            at = np.arange(start, min(start + _BATCH, rows))
            yield at, np.where(_copies(at, each), at % each, at)

    def drops(at: Any) -> pa.Array:
        return pa.array([f"drop-{n:02d}" for n in range(DROPS)]).take(pa.array(at // each))

    def signals() -> Iterator[pa.RecordBatch]:
        for at, number in batches():
            spread = {n: mixed(number, 3 + k) / 2.0**64 for k, n in enumerate(schema.SIGNAL_TYPES)}
            bare = spread["image_pdq_quality"] < 0.03
            columns: dict[str, Any] = {n: pa.array(v, pa.float32()) for n, v in spread.items()}
            chars = (300 * spread["text_chars"] ** 2).astype(np.int32)
            side = (64 + 1500 * spread["image_min_side"]).astype(np.int32)
            columns |= {"text_chars": chars, "text_words": chars // 6}
            columns["image_min_side"] = pa.array(side, mask=bare)
            columns["image_aspect"] = pa.array(1 + 4 * spread["image_aspect"] ** 2, pa.float32())
            # Three decimals: many are equal, and ids decide.
            beauty = (spread["image_aesthetic"] + spread["image_sharpness"]).round(3) * 5
            columns["image_aesthetic"] = pa.array(beauty, pa.float32(), mask=bare)
            spoken = (len(_LANGUAGES) * spread["text_language"]).astype(np.int64)
            columns["text_language"] = pa.array(_LANGUAGES).take(pa.array(spoken))
            told: list[Any] = [drops(at), ids(number)]
            for field in list(schema.SIGNALS)[2:]:
                column = columns.get(field.name)
                if column is None or (schema.is_text(field.type) and column.type != pa.string()):
                    column = pa.nulls(len(at), field.type)
                elif isinstance(column, np.ndarray):
                    column = pa.array(column)
                told.append(column.cast(field.type, safe=False))
            yield pa.RecordBatch.from_arrays(told, schema=schema.SIGNALS)

    def duplicates() -> Iterator[pa.RecordBatch]:
        for at, number in batches():
            copy, near = _copies(at, each), at % 20 == 3
            near &= ~copy & (at > 0)
            lost = copy | near
            cluster = np.where(copy, number, at - 1)[lost]
            kinds = pa.array(["image", "exact"]).take(pa.array(copy[lost].astype(np.int64)))
            similar = pa.array(np.full(int(lost.sum()), 0.9, np.float32))
            for own, drop, stands in (
                (number[lost], drops(at[lost]), False),
                (cluster, drops(np.where(copy, number, at - 1)[lost]), True),
            ):
                stood = pa.array([stands] * len(own), pa.bool_())
                told = [ids(own), drop, ids(cluster), kinds, stood, similar]
                yield pa.RecordBatch.from_arrays(told, schema=schema.DUPLICATES)

    tables.replace("signals", schema.SIGNALS, signals(), None)
    tables.replace("duplicates", schema.DUPLICATES, duplicates(), None)
    workspace = Workspace.open(root)
    evidence = gather(workspace, [workspace.config.policy])
    duplicate_index.hold(
        tables, evidence.duplicates.index, duplicate_index.files(tables)
    )  # as decisions do


def _copies(at: Any, each: int) -> Any:
    return (at % 50 == 1) & (at >= each)


def peer(root: Path, settings: tuple[str, ...]) -> None:
    """Print what DuckDB counts: by rule, and kept by drop, under both policies."""
    import duckdb
    import lance

    then = dict(_TODAY)
    share = by = None
    for setting in settings:
        name, _, value = setting.partition("=")
        signal, _, operator = name.partition(".")
        if operator == "keep_top":
            share = float(value)
        elif operator == "by":
            by = value
        else:
            then[signal] = (operator, int(value))
    columns = ["drop", "id", *_TODAY, "image_aesthetic", *([by] if by else [])]
    signals = lance.dataset(str(root / "tables" / "signals.lance")).scanner(columns).to_reader()
    found = lance.dataset(str(root / "tables" / "duplicates.lance")).to_table(
        ["drop", "id", "cluster", "kind"], filter="NOT representative"
    )
    connection = duckdb.connect(config={"threads": os.cpu_count() or 1})
    connection.register("stream", signals)
    connection.execute("CREATE TABLE signals AS FROM stream")
    connection.register("found", found)
    told = {"rejected": {}, "groups": {}}
    for number, (rules, top) in enumerate(((_TODAY, None), (then, share))):
        counts = connection.execute(_sql(rules, top, by)).fetchall()
        for drop, rule, count in counts:
            part, key = ("groups", drop) if rule is None else ("rejected", rule)
            told[part].setdefault(key, [0, 0])[number] += count
    print(json.dumps(told))


def _sql(rules: dict[str, tuple[str, int]], share: float | None, by: str | None) -> str:
    signs = {"min": "<", "max": ">"}
    tests = " ".join(f"WHEN {n} {signs[op]} {v} THEN '{n}.{op}'" for n, (op, v) in rules.items())
    among = "why IS NULL AND image_aesthetic IS NOT NULL" + (f", {by}" if by else "")
    out = "false"
    if share is not None:
        place = f"OVER (PARTITION BY {among} ORDER BY image_aesthetic DESC, id, drop)"
        size = f"ceil(round({share} * count(*) OVER (PARTITION BY {among}), 6))"
        out = f"(why IS NULL AND image_aesthetic IS NOT NULL AND row_number() {place} > {size})"
    return f"""
        WITH judged AS (SELECT *, CASE {tests} END AS rule FROM signals),
        lost AS (
            SELECT drop, id, kind FROM found
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
    """Seconds by the clock and of all processors, the most memory in GB, and what was printed."""

    clock: float
    busy: float
    memory: float
    answer: dict[str, Any]


def timed(command: list[str]) -> Run:
    """Run a command that prints JSON."""
    clock = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        answer = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed")
    busy, memory = usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024 / 1e9
    return Run(time.perf_counter() - clock, busy, memory, json.loads(answer))


def _cells(runs: list[Run]) -> str:
    clock, busy = (statistics.median(r[column] for r in runs) for column in (0, 1))
    return f" {clock:.1f} | {busy:.1f} | {max(r.memory for r in runs):.2f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where to make the corpus, and to leave it")
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
        # In a process of its own: what one has held, its children are counted to have held.
        own = [sys.executable, __file__]
        if not root.exists():
            subprocess.run([*own, "--make", str(root), "--rows", str(options.rows)], check=True)
        heads = ["seconds", "of processors", "GB"]
        titles = ["change", *heads, *(f"DuckDB: {h}" for h in heads), "DuckDB to isotrope"]
        print(f"| {' | '.join(titles)} |\n|{'---|' * len(titles)}")
        for case, settings in CASES.items():
            sets = [word for setting in settings for word in ("--set", setting)]
            command = [sys.executable, "-m", "orchestration.cli.main", "whatif", "--json", *sets]
            ours = [timed([*command, "--corpus", str(root)]) for _ in range(options.repeats)]
            line = f"| {case} |{_cells(ours)}"
            if case not in _PEERS:
                print(f"{line} | | | |", flush=True)
                continue
            asked = [*own, "--peer", str(root), "--set", *settings]
            theirs = [timed(asked) for _ in range(options.repeats)]
            for part, found in theirs[0].answer.items():
                told = {k: v[-2:] for k, v in ours[0].answer[part].items() if any(v[-2:])}
                if told != found:
                    raise SystemExit(f"{case}: {part}: {told} here, {found} by DuckDB")
            ratio = statistics.median(r.clock for r in theirs) / statistics.median(
                r.clock for r in ours
            )
            print(f"{line}{_cells(theirs)} {ratio:.1f} |", flush=True)
        (root / "tables" / "_lost.arrow").unlink()
        command = [sys.executable, "-m", "orchestration.cli.main", "whatif", "--json"]
        ours = [timed([*command, "--corpus", str(root)]) for _ in range(options.repeats)]
        print(f"| no change, and decisions left nothing |{_cells(ours)} | | | |")
    return None


if __name__ == "__main__":
    main()
