"""Tell near-duplicate texts from texts of one template that is filled in with other words.

Of two similar texts, take the words that only one of them has.

- If only one text has such words, it says more than the other: a copy.
- If both have such words, each says something that the other does not: a template. But if each of
  these words is spelled like one of the other text's, they are typos, and the texts are copies.
  Spelled alike means: one letter more, less or different, or two neighbours swapped.
- If the texts have the same letters in another number of words, words were only joined or split
  (possibly with a letter in place of the space): a copy.

Words with digits, and words of one letter, have only one spelling.
"""

import numpy as np

from pipelines.duplicates.pair_joins import equal_join
from pipelines.duplicates.texts.shingles import Shingles, membership
from pipelines.duplicates.texts.spelling import (
    REPEAT,
    Spellings,
    Words,
    spellings,
    word_multisets,
)


def same_template(words: Words, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Which pairs of texts are one template with other words.

    Args:
        words: of the texts.
        x, y: (k,) the texts of each pair.

    Returns:
        (k,) bool.
    """
    count = np.diff(words.starts)
    tokens, word_of = word_multisets(words)
    pair_x, only_x = _missing(tokens, x, y)
    pairs = np.unique(pair_x)  # pairs whose x has nothing of its own are copies
    row, only_y = _missing(tokens, y[pairs], x[pairs])
    pair_y = pairs[row]
    alike_x, alike_y = _spelled_alike(
        spellings(words, word_of[only_x]), pair_x, spellings(words, word_of[only_y]), pair_y
    )
    has_other_word = np.zeros(len(x), bool)
    has_other_word[pair_x[~alike_x]] = True
    has_other_word[pair_y[~alike_y]] = True
    both_have_own_words = np.zeros(len(x), bool)
    both_have_own_words[pair_y] = True
    x_is_shorter = count[x] < count[y]
    added = (
        words.content[np.where(x_is_shorter, x, y)] - words.content[np.where(x_is_shorter, y, x)]
    )
    is_respaced = (count[x] != count[y]) & ((added == 0) | np.isin(added, words.alphabet))
    return has_other_word & both_have_own_words & ~is_respaced


def _spelled_alike(
    one: Spellings, one_pair: np.ndarray, other: Spellings, other_pair: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Which words are spelled like a word on the other side of their pair, on either side.

    Args:
        one, other: the spellings of the words on the two sides.
        one_pair: (n,) the pair of each word on the first side.
        other_pair: (m,) the pair of each word on the other side.

    Returns:
        (n,) bool and (m,) bool.
    """
    is_alike = np.zeros(len(one_pair), bool)
    is_other_alike = np.zeros(len(other_pair), bool)
    # The pair is mixed into the hashes, so that words of other pairs do not match.
    keys = one.keys + one_pair[one.owner].astype(np.uint64) * REPEAT
    other_keys = other.keys + other_pair[other.owner].astype(np.uint64) * REPEAT
    for a, b in equal_join(keys, other_keys):
        is_whole = (one.deleted_at[a] < 0) | (other.deleted_at[b] < 0)
        distance = np.abs(one.deleted_at[a] - other.deleted_at[b])
        # Deletions at one position: a letter was replaced. At neighbouring positions with the same
        # letter: two were swapped. Farther apart, a letter was moved, which is no typo.
        is_swap = (distance == 1) & (one.letter[a] == other.letter[b])
        is_edit = is_whole | (distance == 0) | is_swap
        is_alike[one.owner[a[is_edit]]] = True
        is_other_alike[other.owner[b[is_edit]]] = True
    return is_alike, is_other_alike


def _missing(tokens: Shingles, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The tokens that texts x have and texts y do not: their pairs, and their indices."""
    blocks = [
        (pair[~is_shared], index[~is_shared]) for pair, index, is_shared in membership(tokens, x, y)
    ]
    empty = (np.empty(0, np.int64), np.empty(0, np.int64))
    pairs, indices = zip(empty, *blocks, strict=True)
    return np.concatenate(pairs), np.concatenate(indices)
