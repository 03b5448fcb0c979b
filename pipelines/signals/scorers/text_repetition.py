"""Repetition within a text (Rae et al. 2021, "Scaling Language Models: Gopher", table A1).

Alternative texts written for search engines repeat themselves: "shoes, buy shoes, cheap shoes".
Unlike Gopher's, an n-gram counts only where it occurs twice: captions are short.
"""

from collections import Counter

import pyarrow as pa

from pipelines.signals.scorer import BatchScorer, Columns

_TOP, _REPEATED = (2, 3, 4), (5, 10)
_GIVES = (
    "text_repeated_lines",
    *(f"text_top_{n}gram" for n in _TOP),
    *(f"text_repeated_{n}grams" for n in _REPEATED),
)


def score(batch: pa.RecordBatch) -> Columns:
    """Shares, 0 to 1: of lines that came before; of characters (spaces apart) in the n-gram of
    words that holds most; of characters in n-grams of words that occur twice or more."""
    rows = [None if t is None else repetition(t) for t in batch["text"].to_pylist()]
    columns = zip(*(r or (None,) * len(_GIVES) for r in rows), strict=True)
    return {n: pa.array(c, pa.float32()) for n, c in zip(_GIVES, columns, strict=True)}


def repetition(text: str) -> tuple[float, ...]:
    """A text's values in the order of the columns."""
    lines = [line for part in text.splitlines() if (line := part.strip())]
    repeated = 1 - len(set(lines)) / len(lines) if lines else 0.0
    words = text.lower().split()
    if len(set(words)) == len(words):
        return (repeated, *_NONE)
    lengths = [len(w) for w in words]
    total = sum(lengths)
    top = [_top(words, n) / total for n in _TOP]
    return (repeated, *top, *(_covered(words, lengths, n) / total for n in _REPEATED))


_NONE = (0.0,) * (len(_TOP) + len(_REPEATED))


def _grams(words: list[str], n: int) -> list[tuple[str, ...]]:
    return list(zip(*(words[i:] for i in range(n)), strict=False))


def _top(words: list[str], n: int) -> int:
    """Characters that the n-gram which holds most of them has in all of its occurrences, which do
    not overlap."""
    counts = {g: c for g, c in Counter(_grams(words, n)).items() if c > 1}
    if not counts:
        return 0
    most, ends = Counter[tuple[str, ...]](), dict.fromkeys(counts, 0)
    for start, gram in enumerate(_grams(words, n)):
        if gram in ends and start >= ends[gram]:
            most[gram] += 1
            ends[gram] = start + n
    return max((c * sum(map(len, g)) for g, c in most.items() if c > 1), default=0)


def _covered(words: list[str], lengths: list[int], n: int) -> int:
    """Characters of words that lie within an n-gram which occurs twice or more."""
    grams = _grams(words, n)
    counts = Counter(grams)
    covered, end = 0, 0
    for start, gram in enumerate(grams):
        if counts[gram] > 1:
            covered += sum(lengths[max(start, end) : start + n])
            end = start + n
    return covered


REPETITION = BatchScorer("text_repetition", _GIVES, ("text",), score)
