"""How well suggested queries find their groups: figures of docs/retrieval.md, "Suggested queries".

    isotrope demo demo
    python -m benchmarks.suggestions demo

The queries are general words. A suggestion is measured by the average precision of its group among
the best 200 results. Intervals are of 95%, over suggestions. Seconds include encoding.
"""

import argparse
import time

import numpy as np

import isotrope
from store.metrics.intervals import paired_bootstrap

QUERIES = (
    "a bird", "food", "an animal", "a flower", "a vehicle", "a person", "a tool", "something red",
    "a musical instrument", "a building",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus")
    corpus = isotrope.connect(parser.parse_args().corpus)
    corpus.search(text="warm up").suggest()
    suggestions, seconds = [], []
    print("| query | suggestions |\n|---|---|")
    for text in QUERIES:
        started = time.perf_counter()
        each = corpus.search(text=text).among("image").suggest(5)
        seconds.append(time.perf_counter() - started)
        suggestions += each
        print(f"| {text} | {', '.join(f'{s.text} ({s.rows})' for s in each)} |")
    after = np.array([s.specificity for s in suggestions])
    before = np.array([s.before for s in suggestions])
    gain = paired_bootstrap(after, before)
    similarity = np.mean([s.similarity for s in suggestions])
    fit = np.mean([s.representativeness for s in suggestions])
    print(
        f"\n{len(suggestions)} suggestions: average precision {before.mean():.3f} by the query,"
        f" {after.mean():.3f} by the suggestion: {gain.mean:+.3f} ({gain.low:+.3f} to"
        f" {gain.high:+.3f}); representativeness {fit:.3f}, similarity {similarity:.3f};"
        f" {np.median(seconds):.2f} s a query"
    )


if __name__ == "__main__":
    main()
