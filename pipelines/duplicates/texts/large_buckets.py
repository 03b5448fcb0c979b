"""Find candidates among many texts that share a band, without looking at every pair of them.

Many texts of one template share a band, and hardly any are copies. If a text is a copy of another,
each of its words is in the other text, or is spelled like a word there (see
`templates.same_template`), or both texts have the same letters. So any one word of a text leads to
all texts that it can be a copy of. The rarest word is used, which in a template is what it was
filled in with. The choice of the word affects the number of candidates, not which pairs are found.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from pipelines.duplicates.pair_joins import equal_join
from pipelines.duplicates.texts.shingles import normalise_texts
from pipelines.duplicates.texts.spelling import letters_used, spellings, split_words
from store.arrays import lookup, ragged_ranges

_TEXTS = 1 << 13  # texts that are read at a time


class LargeBuckets:
    """An index of texts by their words, for texts in buckets that are too large for all pairs.

    A text looks up `query` keys: its rarest word and the words spelled like it, and its letters.
    It is listed under `held` keys: those of its words that some text looks up, and its letters.
    """

    def __init__(self, rows: np.ndarray, texts: Callable[[np.ndarray], Sequence[str]]):
        """Index the texts.

        Args:
            rows: (n,) the texts' rows, ascending.
            texts: reads the texts of some rows; each has at least one word.
        """
        self.rows = rows
        blocks = [rows[i : i + _TEXTS] for i in range(0, len(rows), _TEXTS)]
        word_hash, self.count, content, letter_count, content_less, owner_hash, keys = (
            np.concatenate(column)
            for column in zip(*(_read(texts(block)) for block in blocks), strict=True)
        )
        vocabulary, word = np.unique(word_hash, return_inverse=True)
        distinct_keys, key = np.unique(keys, return_inverse=True)
        spelled = np.unique(lookup(vocabulary, owner_hash) * len(distinct_keys) + key)
        owner, key = spelled // len(distinct_keys), spelled % len(distinct_keys)
        rarest = _rarest(word, self.count, owner, key)
        chosen, alike = _alike(owner, key, np.unique(rarest))
        text, query_word = _Lists(alike, chosen, len(vocabulary)).of(rarest)
        is_queried = np.zeros(len(vocabulary), bool)
        is_queried[alike] = True
        # The letters of a text count as one more word, numbered after the vocabulary. They are
        # looked up as they are, and less one of them.
        contents, own_content = np.unique(content, return_inverse=True)
        number = np.arange(len(rows))
        less = lookup(contents, content_less)
        exists = less >= 0
        queries = np.r_[query_word, len(vocabulary) + np.r_[own_content, less[exists]]]
        query_texts = np.r_[text, number, np.repeat(number, letter_count)[exists]]
        self.queries = _Lists(queries, query_texts, len(rows))
        queried = is_queried[word]
        held = np.r_[word[queried], len(vocabulary) + own_content]
        held_texts = np.r_[np.repeat(number, self.count)[queried], number]
        self.held = _Lists(held, held_texts, len(rows))
        self.words = len(vocabulary) + len(contents)

    def candidates(
        self, rows: np.ndarray, groups: np.ndarray, first: int
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Find the pairs in one group of which one text may be a copy of the other.

        Args:
            rows: (m,) rows of indexed texts.
            groups: (m,) their groups, numbered from 0.
            first: pairs of two rows before it are left out.

        Returns:
            Blocks of pairs (smaller row, larger row); a pair may come several times.
        """
        index = np.searchsorted(self.rows, rows)
        new = rows >= first
        every = np.ones(len(rows), bool)
        for querying, holding in ((new, every), (~new, new)):
            query_index, held_index = index[querying], index[holding]
            query_text, query = self.queries.of(query_index)
            held_text, held = self.held.of(held_index)
            table = groups[holding][held_text] * self.words + held
            for entry, probe in equal_join(
                table, groups[querying][query_text] * self.words + query
            ):
                x, y = query_index[query_text[probe]], held_index[held_text[entry]]
                # All words of the text with fewer words are looked for in the other one.
                is_candidate = (self.count[x] <= self.count[y]) & (x != y)
                x, y = x[is_candidate], y[is_candidate]
                yield self.rows[np.minimum(x, y)], self.rows[np.maximum(x, y)]


def _rarest(word: np.ndarray, count: np.ndarray, owner: np.ndarray, key: np.ndarray) -> np.ndarray:
    """The word of each text whose spellings are the rarest, (texts,).

    Args:
        word: the words of the texts, one text after the other.
        count: (texts,) the number of words of each.
        owner, key: (k,) words and the keys of their spellings.
    """
    uses_of_key = np.bincount(key, np.bincount(word)[owner])[key]
    by_cost = np.argsort(np.bincount(owner, uses_of_key), kind="stable")
    rank = np.empty_like(by_cost)
    rank[by_cost] = np.arange(len(by_cost))
    return by_cost[np.minimum.reduceat(rank[word], np.cumsum(count) - count)]


def _alike(owner: np.ndarray, key: np.ndarray, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Chosen words, and the words that they share a key with, themselves among them.

    Args:
        owner, key: (k,) words and the keys of their spellings.
        chosen: distinct words.
    """
    of_chosen = np.flatnonzero(np.isin(owner, chosen))
    words = int(owner.max()) + 1
    codes = [
        np.unique(owner[of_chosen[probe]] * words + owner[entry])
        for entry, probe in equal_join(key, key[of_chosen])
    ]
    code = np.unique(np.concatenate(codes))
    return code // words, code % words


class _Lists:
    """Keys in lists, one list an owner."""

    def __init__(self, keys: np.ndarray, owner: np.ndarray, owners: int):
        """Args: `keys`, `owner`: (k,) keys and their owners; `owners`: the number of owners."""
        self.keys = keys[np.argsort(owner, kind="stable")]
        self.count = np.bincount(owner, minlength=owners)
        self.start = np.cumsum(self.count) - self.count

    def of(self, owners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The keys of some owners: (k,) indices in `owners`, and (k,) keys."""
        count = self.count[owners]
        index = np.repeat(np.arange(len(owners)), count)
        return index, self.keys[ragged_ranges(self.start[owners], count)]


def _read(texts: Sequence[str]) -> tuple[np.ndarray, ...]:
    """What is indexed of texts.

    Returns:
        Hashes of words, and the number of words of each text; hashes of contents, the number of
        distinct letters of each text, and the contents less each of these letters; hashes of
        distinct words and the keys of their spellings.
    """
    words = split_words(normalise_texts(texts))
    text, letter = letters_used(words)
    _, once = np.unique(words.values, return_index=True)
    spelled = spellings(words, once)
    return (
        words.values,
        np.diff(words.starts),
        words.content,
        np.bincount(text),
        words.content[text] - words.alphabet[letter],
        words.values[once][spelled.owner],
        spelled.keys,
    )
