"""Measure the balance over concepts of the demonstration's captions, and the speed of matching.

    python benchmarks/concepts.py demo --names /usr/share/wordnet/index.noun

The list is WordNet's nouns (Debian: wordnet-base) or `imagenet`.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipelines.policy.concept_balance import balance, head_and_tail
from pipelines.policy.concepts import match_captions, read_concepts
from pipelines.policy.verdicts import Verdicts
from store.config.rules import Concepts
from store.identity import pack_ids
from store.workspace import Workspace

CHUNK_ROWS = 1 << 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("corpus", type=Path, help="a corpus that `isotrope demo` made")
    parser.add_argument("--names", nargs="*", default=["imagenet"])
    parser.add_argument("--most", type=int, nargs="*", default=[20])
    options = parser.parse_args()
    workspace = Workspace.open(options.corpus)
    table = workspace.tables.open("samples").to_table(columns=["drop", "id", "text"])
    packed = pa.table({"id": pack_ids(table["id"].combine_chunks())})
    everything = np.ones(table.num_rows, bool)
    for names in options.names:
        concepts = read_concepts(workspace, Concepts(names=names, most=1))
        matches = match_captions(table["text"], concepts)
        matched = len(np.unique(matches.samples)) / table.num_rows
        print(f"\n{Path(names).name}: {len(concepts):,} names, {matched:.0%} of captions match one")
        for most in options.most:
            step = Concepts(names=names, most=most)
            verdicts = Verdicts(table.num_rows)
            balance(step, matches, packed, verdicts)
            print(f"most: {most}, {verdicts.kept.sum()} of {table.num_rows} samples kept")
            rows = head_and_tail(step, matches, (everything, verdicts.kept))
            for name, (before, _, after) in rows.items():
                print(f"| {name} | {before} | {after} |")
        # Chunks of the size in which captions are read.
        many = pa.chunked_array([pa.concat_arrays(table["text"].chunks * 70)[:CHUNK_ROWS]])
        start = time.process_time()
        match_captions(many, concepts)
        seconds = time.process_time() - start
        print(f"{len(many) / seconds:,.0f} captions per processor second")


if __name__ == "__main__":
    main()
