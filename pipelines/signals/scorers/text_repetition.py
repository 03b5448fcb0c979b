"""Repetition within a text (Rae et al. 2021, "Scaling Language Models: Gopher", table A1).

Alternative texts that are written for search engines repeat themselves: "shoes, buy shoes, cheap
shoes". Unlike in Gopher, the top n-gram must occur at least twice, because captions are short.
"""

from collections import Counter

import pyarrow as pa

from pipelines.signals.scorer import BatchScorer, Columns
from store.tables.signals import SCORERS

_TOP_NGRAMS, _REPEATED_NGRAMS = (2, 3, 4), (5, 10)
_NAMES = (
    "text_repeated_lines",
    *(f"text_top_{n}gram" for n in _TOP_NGRAMS),
    *(f"text_repeated_{n}grams" for n in _REPEATED_NGRAMS),
)
_NO_REPETITION = (0.0,) * (len(_TOP_NGRAMS) + len(_REPEATED_NGRAMS))


def score(batch: pa.RecordBatch) -> Columns:
    """Shares of a text, 0 to 1. Characters are counted without white space.

    - `text_repeated_lines`: lines that are equal to an earlier line.
    - `text_top_{n}gram`: characters in the repeated n-gram of words that covers most of them.
    - `text_repeated_{n}grams`: characters in n-grams of words that occur twice or more.
    """
    rows = [None if t is None else repetition(t) for t in batch["text"].to_pylist()]
    columns = zip(*(r or (None,) * len(_NAMES) for r in rows), strict=True)
    return {n: pa.array(c, pa.float32()) for n, c in zip(_NAMES, columns, strict=True)}


def repetition(text: str) -> tuple[float, ...]:
    """The six values of a text, in the order of `_NAMES`."""
    lines = [line for part in text.splitlines() if (line := part.strip())]
    repeated_lines = 1 - len(set(lines)) / len(lines) if lines else 0.0
    words = text.lower().split()
    if len(set(words)) == len(words):
        return (repeated_lines, *_NO_REPETITION)
    lengths = [len(w) for w in words]
    total = sum(lengths)
    top = [_top(words, n) / total for n in _TOP_NGRAMS]
    repeated = [_covered(words, lengths, n) / total for n in _REPEATED_NGRAMS]
    return (repeated_lines, *top, *repeated)


def _grams(words: list[str], n: int) -> list[tuple[str, ...]]:
    return list(zip(*(words[i:] for i in range(n)), strict=False))


def _top(words: list[str], n: int) -> int:
    """The characters in all occurrences of one n-gram, for the n-gram that has most of them.

    Occurrences that overlap are counted once. The n-gram must occur twice.
    """
    counts = {g: c for g, c in Counter(_grams(words, n)).items() if c > 1}
    if not counts:
        return 0
    occurrences, ends = Counter[tuple[str, ...]](), dict.fromkeys(counts, 0)
    for start, gram in enumerate(_grams(words, n)):
        if gram in ends and start >= ends[gram]:
            occurrences[gram] += 1
            ends[gram] = start + n
    return max((c * sum(map(len, g)) for g, c in occurrences.items() if c > 1), default=0)


def _covered(words: list[str], lengths: list[int], n: int) -> int:
    """The characters of words that are part of an n-gram which occurs twice or more."""
    grams = _grams(words, n)
    counts = Counter(grams)
    covered, end = 0, 0
    for start, gram in enumerate(grams):
        if counts[gram] > 1:
            covered += sum(lengths[max(start, end) : start + n])
            end = start + n
    return covered


REPETITION = BatchScorer("text_repetition", SCORERS["text_repetition"].names, ("text",), score)
