"""Measure the balance over concepts of the demonstration's captions, and the speed of matching.

    python benchmarks/concepts.py demo --names /usr/share/wordnet/index.noun

The list is WordNet's nouns (Debian: wordnet-base) or `imagenet`. With `--nearest`, samples also
have the concepts nearest to their parts. Names that captions have are the answers that these are
compared with: a picture shows more than its caption names, so that only recall is measured.
Lists of more than 20,000 names have no vectors.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipelines.policy import concept_vectors
from pipelines.policy.concept_balance import balance, head_and_tail
from pipelines.policy.concept_vectors import match_vectors, nearest_concepts
from pipelines.policy.concepts import Matches, match_captions, read_concepts
from pipelines.policy.judge import gather_evidence
from pipelines.policy.sample_vectors import read_vectors, sample_blocks
from pipelines.policy.signal_columns import packed
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
    parser.add_argument("--nearest", type=int, nargs="*", default=[1, 3, 10])
    options = parser.parse_args()
    workspace = Workspace.open(options.corpus)
    table = workspace.tables.open("samples").to_table(columns=["drop", "id", "text"])
    packed_ids = pa.table({"id": pack_ids(table["id"].combine_chunks())})
    for names in options.names:
        concepts = read_concepts(workspace, Concepts(names=names, most=1))
        matches = match_captions(table["text"], concepts)
        matched = len(np.unique(matches.samples)) / table.num_rows
        print(f"\n{Path(names).name}: {len(concepts):,} names, {matched:.0%} of captions match one")
        show_balance(names, matches, packed_ids, options.most)
        if len(concepts) <= concept_vectors.MOST_NAMES:
            by_vectors(workspace, Concepts(names=names, most=1), matches, options)
        # Chunks of the size in which captions are read.
        many = pa.chunked_array([pa.concat_arrays(table["text"].chunks * 70)[:CHUNK_ROWS]])
        start = time.process_time()
        match_captions(many, concepts)
        seconds = time.process_time() - start
        print(f"{len(many) / seconds:,.0f} captions per processor second")


def show_balance(names: str, matches: Matches, packed_ids: pa.Table, thresholds: list[int]) -> None:
    """Print how many samples are kept, and the matches of concepts before and after."""
    everything = np.ones(packed_ids.num_rows, bool)
    for most in thresholds:
        step = Concepts(names=names, most=most)
        verdicts = Verdicts(packed_ids.num_rows)
        balance(step, matches, packed_ids, verdicts)
        print(f"most: {most}, {verdicts.kept.sum()} of {packed_ids.num_rows} samples kept")
        for name, (before, _, after) in head_and_tail(
            step, matches, (everything, verdicts.kept)
        ).items():
            print(f"| {name} | {before} | {after} |")


def by_vectors(
    workspace: Workspace, concepts: Concepts, named: Matches, options: argparse.Namespace
) -> None:
    """Compare the nearest concepts of each modality with those that captions name."""
    start = time.process_time()
    concept_vectors.encode_concepts(workspace, concepts)
    print(f"{len(named.names):,} names encoded: {time.process_time() - start:.1f} processor s")
    usable, vectors = concept_vectors.stored_vectors(workspace, named.names)
    table = packed(workspace, ["id"])
    evidence = gather_evidence(workspace, [], ["id"])
    blocks = sample_blocks(table, evidence.ids, np.arange(table.num_rows))
    found = match_vectors(workspace, concepts, named.names, evidence.samples, evidence.ids)
    print(f"by vectors: {len(np.unique(found.concepts)):,} concepts have a sample")
    show_balance(concepts.names, found, table, options.most)
    answers = set(zip(named.samples.tolist(), named.concepts.tolist(), strict=True))
    with tempfile.TemporaryDirectory() as folder:
        parts, _ = read_vectors(workspace, blocks, (), Path(folder))
        for modality, rows in parts.items():
            present = np.flatnonzero(np.array(rows[:]).any(axis=1))
            own = {pair for pair in answers if pair[0] in set(present.tolist())}
            for count in options.nearest:
                raw = np.argsort(-(rows[:][present] @ vectors.T), axis=1)[:, :count]
                blocks_of = nearest_concepts(rows, vectors, count)
                corrected = np.concatenate([nearest for _, nearest in blocks_of])
                for name, nearest in (("raw", raw), ("corrected", corrected)):
                    pairs = {
                        (row, concept)
                        for row, concepts_ in zip(present.tolist(), usable[nearest], strict=True)
                        for concept in concepts_.tolist()
                    }
                    hub = np.bincount(nearest.reshape(-1)).max() / len(present)
                    recall = len(pairs & own) / max(len(own), 1)
                    print(
                        f"| {modality} | nearest {count}, {name} | recall {recall:.2f} of"
                        f" {len(own)} | most frequent concept {hub:.1%} of samples |"
                    )


if __name__ == "__main__":
    main()
