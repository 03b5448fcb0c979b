"""Measure what finds offensive captions, on 66 that a person labelled.

    python benchmarks/offensive.py

The list (tests/data/offensive_captions.tsv) is made of hard cases: harmless captions with words
that can offend ("a great tit on a bird feeder"), and insults and threats, many without such words.
"""

import time
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipelines.signals.scorers import text_flagged, text_offensive

LIST = Path(__file__).parents[1] / "tests" / "data" / "offensive_captions.tsv"
REPEATED = 150  # times the list, to measure the speed


def main() -> None:
    rows = [line.split("\t") for line in LIST.read_text(encoding="utf-8").splitlines()]
    texts, offensive = [text for _, text in rows], np.array([label == "1" for label, _ in rows])
    print(
        "| | offensive ones found | harmless ones taken for offensive | captions per processor s |"
    )
    print("|---|---|---|---|")
    for name, scorer, column, limits in (
        ("`text_flagged_words`", text_flagged, "text_flagged_words", (1,)),
        ("`text_offensive`", text_offensive, "text_offensive", (0.5, 0.7, 0.9)),
    ):
        batch = pa.record_batch({"text": pa.array(texts * REPEATED, pa.large_string())})
        scorer.score(batch.slice(0, 1))
        start = time.process_time()
        scorer.score(batch)
        rate = batch.num_rows / (time.process_time() - start)
        values = scorer.score(batch.slice(0, len(texts)))[column].to_numpy(zero_copy_only=False)
        for limit in limits:
            found, wrong = (values[each] >= limit for each in (offensive, ~offensive))
            print(
                f"| {name}, at least {limit} | {found.sum()} of {len(found)} |"
                f" {wrong.sum()} of {len(wrong)} | {rate:,.0f} |"
            )


if __name__ == "__main__":
    main()
