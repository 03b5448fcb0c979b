"""The policy's step `concepts`: thin out the samples of frequent concepts."""

import numpy as np
import pyarrow as pa

from pipelines.policy.column_files import Columns
from pipelines.policy.concepts import Matches, probabilities, rarest, threshold
from pipelines.policy.draws import drawn_numbers
from pipelines.policy.verdicts import Verdicts
from store.config.rules import Concepts

_MOST_SHOWN = 10  # concepts


def balance(concepts: Concepts, matches: Matches, samples: Columns, verdicts: Verdicts) -> None:
    """Reject samples of frequent concepts, among those kept so far."""
    kept = verdicts.kept
    counts = matches.counts(kept)
    most = threshold(concepts, counts)
    probability = probabilities(matches, counts, most, samples.num_rows)
    has_concept = ~np.isnan(probability)
    number = drawn_numbers(samples["id"].chunks, "concepts", concepts.seed) / 2.0**32
    rows = np.flatnonzero(kept & has_concept & (number >= probability))
    limit = str(most)
    verdicts.reject(
        "concepts.most",
        rows,
        lambda of: (rarest(matches, counts, of), pa.array([limit] * len(of), pa.string())),
    )
    if concepts.unmatched == "reject":
        rows = np.flatnonzero(kept & ~has_concept)
        verdicts.reject("concepts.unmatched", rows, lambda of: (_no_texts(of), _no_texts(of)))


def head_and_tail(
    concepts: Concepts, matches: Matches, kept: tuple[np.ndarray, np.ndarray]
) -> dict[str, tuple[int, int, int]]:
    """Matches of the most frequent concepts, and of the head and the tail together.

    Args:
        concepts: its threshold, over all samples, separates head and tail.
        matches: of all samples.
        kept: (n,) bool, which samples two policies keep.

    Returns:
        For each name the matches of all samples, and of those that each policy keeps.
    """
    counts = [matches.counts(rows) for rows in (np.ones(len(kept[0]), bool), *kept)]
    most = threshold(concepts, counts[0])
    is_head = counts[0] > most

    def row(where: np.ndarray) -> tuple[int, int, int]:
        first, second, third = (int(c[where].sum()) for c in counts)
        return first, second, third

    rows = {
        f"concepts with more than {most} samples": row(is_head),
        f"concepts with at most {most} samples": row(~is_head),
    }
    frequent = np.argsort(-counts[0], kind="stable")[:_MOST_SHOWN]
    names = matches.names.take(pa.array(frequent)).to_pylist()
    shown = zip(names, frequent.tolist(), strict=True)
    return rows | {name: row(np.array([concept])) for name, concept in shown}


def _no_texts(rows: np.ndarray) -> pa.Array:
    return pa.nulls(len(rows), pa.string())
