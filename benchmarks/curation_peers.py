"""Compare a recipe of curation with Data-Juicer and DuckDB: the same texts are kept by all.

    uv venv peers && uv pip install --python peers/bin/python py-data-juicer aiohttp ray
    python -m benchmarks.curation_peers --peers peers/bin/python      # 100,000 captions

The recipe: of equal texts one is kept, and of these the ones with 40 to 80 characters and 7 to 12
words. Captions are random words of lower-case letters, and one in ten is a copy. Each system reads
the same Parquet file, in a process of its own. Processor seconds are those of all its processes,
imports included; isotrope's and Data-Juicer's imports are printed too.

isotrope makes its tables `samples`, `signals`, `duplicates` and `decisions`, so it also hashes and
stores the texts, measures every signal of texts, language included, and records why each text was
rejected. Data-Juicer runs its operators one by one, each in one process. DuckDB runs one query.

datatrove's MinHash is compared in `benchmarks/minhash.py`. Data-Juicer 1.6.1 does not declare that
it imports aiohttp and Ray, and installs torch when it is first imported. NeMo Curator 1.4.0 has no
exact deduplication without a GPU: it imports cudf.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

_CHARS, _WORDS = (40, 80), (7, 12)
_CONFIG = f"""\
sources: {{s: {{path: drops}}}}
policy:
  text_chars: {{min: {_CHARS[0]}, max: {_CHARS[1]}}}
  text_words: {{min: {_WORDS[0]}, max: {_WORDS[1]}}}
"""
_REPORT = """
import hashlib, json
kept = sorted(kept)
digest = hashlib.sha256("\\n".join(kept).encode()).hexdigest()
print(json.dumps({"kept": len(kept), "digest": digest, "imports": imports}))
"""
_START = "import sys, time; start = time.process_time(); path = sys.argv[1]\n"
_SYSTEMS = {
    "isotrope": """
from pathlib import Path
from store.tables import schema
from tests.helpers.stages import curate
imports = time.process_time() - start
tables = curate(Path(path)).tables
decisions = tables.scan("decisions", schema.DECISIONS, ["drop", "id"], "keep").to_pylist()
keys = {(r["drop"], r["id"]) for r in decisions}
rows = tables.scan("samples", schema.SAMPLES, ["drop", "id", "text"]).to_pylist()
kept = [r["text"] for r in rows if (r["drop"], r["id"]) in keys]
""",
    "DuckDB": f"""
import duckdb
imports = time.process_time() - start
kept = [row[0] for row in duckdb.sql(
    f"SELECT DISTINCT text FROM '{{path}}/drops/a/captions.parquet'"
    " WHERE length(text) BETWEEN {_CHARS[0]} AND {_CHARS[1]}"
    " AND len(string_split(text, ' ')) BETWEEN {_WORDS[0]} AND {_WORDS[1]}").fetchall()]
""",
    "Data-Juicer": f"""
from data_juicer.core.data import NestedDataset
from data_juicer.ops.deduplicator.document_deduplicator import DocumentDeduplicator
from data_juicer.ops.filter.text_length_filter import TextLengthFilter
from data_juicer.ops.filter.words_num_filter import WordsNumFilter
imports = time.process_time() - start
data = NestedDataset.from_parquet(path + "/drops/a/captions.parquet")
for operator in (
    DocumentDeduplicator(),
    TextLengthFilter(min_len={_CHARS[0]}, max_len={_CHARS[1]}),
    WordsNumFilter(min_num={_WORDS[0]}, max_num={_WORDS[1]}),
):
    data = operator.run(data)
kept = data["text"]
""",
}


def captions(count: int) -> list[str]:
    """Texts of 4 to 16 random words, of which one in ten is a copy of an earlier one."""
    rng = np.random.default_rng(0)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    words = ["".join(rng.choice(letters, rng.integers(3, 9))) for _ in range(5000)]
    texts: list[str] = []
    for number in range(count):
        if number % 10 == 9:
            texts.append(texts[rng.integers(len(texts))])
        else:
            texts.append(" ".join(words[w] for w in rng.integers(0, 5000, rng.integers(4, 17))))
    return texts


def run(python: str, code: str, folder: str) -> dict[str, Any]:
    """The report of a system with its seconds, by the clock and of all of its processes."""
    start = time.perf_counter()
    process = subprocess.Popen(
        [python, "-c", _START + code + _REPORT, folder], stdout=subprocess.PIPE, text=True
    )
    seconds: dict[int, float] = {}
    while process.poll() is None:
        try:
            tree = psutil.Process(process.pid)
            for each in (tree, *tree.children(recursive=True)):
                times = each.cpu_times()
                seconds[each.pid] = times.user + times.system
        except psutil.Error:  # one has just ended
            pass
        time.sleep(0.1)
    assert process.stdout is not None
    report: dict[str, Any] = json.loads(process.stdout.read().splitlines()[-1])
    return report | {"wall": time.perf_counter() - start, "cpu": sum(seconds.values())}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--captions", type=int, default=100_000)
    parser.add_argument("--peers", help="the Python of an environment with Data-Juicer")
    options = parser.parse_args()
    results = {}
    for system, code in _SYSTEMS.items():
        python = options.peers if system == "Data-Juicer" else sys.executable
        if python is None:
            print("Data-Juicer is left out: --peers names no Python that has it\n")
            continue
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "corpus.yaml").write_text(_CONFIG)
            drop = Path(folder, "drops", "a")
            drop.mkdir(parents=True)
            pq.write_table(
                pa.table({"text": captions(options.captions)}), drop / "captions.parquet"
            )
            results[system] = run(python, code, folder)
    print("| system | kept | processor s | of these imports | s by the clock | to isotrope |")
    print("|---|---|---|---|---|---|")
    for system, result in results.items():
        ratio = result["cpu"] / results["isotrope"]["cpu"]
        cells = [system, f"{result['kept']:,}"]
        cells += [f"{result[name]:.1f}" for name in ("cpu", "imports", "wall")]
        print(f"| {' | '.join(cells)} | {ratio:.2f} |")
    same = len({result["digest"] for result in results.values()}) == 1
    print(f"\nall keep the same texts: {'yes' if same else 'no'}")


if __name__ == "__main__":
    main()
