"""The `words:` section of corpus.yaml: words for images and recordings."""

from typing import Annotated

from pydantic import Field

from store.config.section import PositiveInt, Section


class Words(Section):
    """How many words items get, and which words there are.

    Without this section items get none. `words: {}` gives them words with the defaults.

    Attributes:
        count: words of an item.
        vocabulary: the largest number of different words.
        least_captions: a word is in at least so many captions of the bank.
        most_share: a word is in at most this share of them. More common ones say little.
    """

    count: Annotated[int, Field(gt=0, le=64)] = 16
    vocabulary: PositiveInt = 5_000
    least_captions: PositiveInt = 2
    most_share: Annotated[float, Field(gt=0, le=1)] = 0.1
