"""Texts that are alike but for what they tell of: one template, filled in with other words.

Of two similar texts, look at the words that only one of them has. Where only one text has any, it
says more than the other: a copy. Where both have, each lacks what the other says, unless these
words are spelled alike, but for one letter each: then they are typos. Words with digits have one
spelling.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np


def same_template(folded: Sequence[str], x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Bool (k,): whether pairs of texts are one template with other words.

    Args:
        folded: the texts, as `shingles.fold` gives them; `x`, `y` are their places (k,).
    """
    words = [Counter(text.split()) for text in folded]
    pairs = zip(x.tolist(), y.tolist(), strict=True)
    return np.array([_other(words[a] - words[b], words[b] - words[a]) for a, b in pairs], bool)


def _other(mine: Counter[str], theirs: Counter[str]) -> bool:
    if not mine or not theirs:
        return False
    letters = [sorted("".join(words.elements())) for words in (mine, theirs)]
    if mine.total() != theirs.total() and letters[0] == letters[1]:
        return False  # words were run together, or taken apart
    sides = ((mine, theirs), (theirs, mine))
    return not all(any(_one_edit(w, v) for v in there) for here, there in sides for w in here)


def _one_edit(one: str, other: str) -> bool:
    """Whether a letter more, less or another, or two swapped, make one word of the other."""
    if abs(len(one) - len(other)) > 1 or any(map(str.isdigit, one + other)):
        return False
    start = 0
    while start < min(len(one), len(other)) and one[start] == other[start]:
        start += 1
    a, b = one[start:], other[start:]
    return a[1:] == b or a == b[1:] or a[1:] == b[1:] or a[1::-1] + a[2:] == b
