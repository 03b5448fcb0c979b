"""The fields of a query, and the words that set them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from store.corrections.recipe import METHODS, recipe
from store.errors import InputError
from store.search.compound import Compound
from store.search.full_text import FullText
from store.search.inputs import Inputs, id_input, scaled_to_one, text_input
from store.search.numbers import number, whole
from store.search.query_json import COLUMNS, MAX_COLUMNS
from store.tables.schema import MODALITIES

AUTO = "auto"
LEVELS = (*MODALITIES, "any", "sample", AUTO)
MAX_ROWS = 10_000
MAX_SECONDS = 3600.0
_LIKED, _UNLIKED = 0.75, 0.25  # weights of Rocchio's feedback, beside a query of weight 1
_MAX_CONDITION = 10_000  # characters


@dataclass(frozen=True)
class QueryOptions:
    """What a query is made of. Every method returns a new value.

    Attributes:
        inputs: the inputs of each query of a batch. The positive weights of a query sum to one.
        is_batch: whether lists of inputs were given.
        gallery: the modality to search, "any", "sample" or "auto".
        method: of the correction: "auto", "none" or a recipe's name.
        params: names and values of the method's parameters.
        condition: an SQL condition on the gallery's columns.
        columns: the gallery's columns to return.
        count: the largest number of rows to return for each query.
        start: how many of the best rows to leave out.
        floor: the lowest score to return.
        seconds: how long the query may run.
        number: of the release to search. None: the release that the corpus was opened at.
        duplicate: items whose cosine with a better one is at least this are left out.
        relevance: the share of the score in the order of a diverse list.
        full_text: what captions are searched for, beside the vectors.
        compound: how the queries of `inputs` are joined into one.
    """

    inputs: tuple[Inputs, ...]
    is_batch: bool = False
    gallery: str = "image"
    method: str = "auto"
    params: tuple[tuple[str, Any], ...] = ()
    condition: str | None = None
    columns: tuple[str, ...] = COLUMNS
    count: int = 10
    start: int = 0
    floor: float | None = None
    seconds: float | None = None
    number: int | None = None
    duplicate: float | None = None
    relevance: float | None = None
    full_text: FullText | None = None
    compound: Compound | None = None

    def among(self, level: str) -> Self:
        """Search the gallery of one modality, or of all ("any") with one merged list of results.

        Scores of different galleries are not comparable. The merged list is ranked by
        `_calibrated`: 0 is the mean score of unrelated pairs, and 1 the 98th percentile of their
        scores.

        "sample" merges in the same way and returns each sample once, by its best part. The columns
        `modality` and `part_id` name this part. A part that several samples share counts for the
        sample that the column `id` names.

        "auto" searches one gallery, or its moments: that in which the query's best score is
        farthest above those of unrelated queries. See `store.search.router`.

        Raises:
            InputError: the modality does not exist. That the release has no gallery for it is
                noticed when the query runs.
        """
        if level not in LEVELS:
            raise InputError(f"among({level!r}): allowed are {', '.join(LEVELS)}")
        return replace(self, gallery=level)

    def correct(self, method: str, /, **params: Any) -> Self:
        """Choose how hubs are corrected.

        A method that is not compiled into the release rescores the best raw candidates. The
        result's `complete` is then false.

        Args:
            method: "auto" (what the release selected), "none", a method, or a composition of
                methods such as "invgc_local+nnn".
            params: parameters of the method.

        Raises:
            InputError: the method or one of its parameters does not exist.
        """
        if method == "auto":
            if params:
                raise InputError('correct("auto") takes no parameters: name a method')
            return replace(self, method="auto", params=())
        try:
            if not isinstance(method, str):
                raise InputError("the name of a method is expected")
            name = recipe(method, params).name
        except InputError as error:
            allowed = f"auto, {', '.join(METHODS)}, and compositions such as invgc_local+nnn"
            raise InputError(
                f"correct({str(method)[:80]!r}): {error}; allowed are {allowed}"
            ) from None
        return replace(self, method=name, params=tuple(sorted(params.items())))

    def where(self, condition: str) -> Self:
        """Search only rows that meet an SQL condition on the gallery's columns.

        Comparisons, AND, OR, NOT, IN, BETWEEN, LIKE, IS NULL, arithmetic, and a few functions are
        allowed (`store.search.condition`). Whether the columns exist is checked by the search.

        Raises:
            InputError: the condition is not a string, is empty or too long.
        """
        if not isinstance(condition, str) or not condition.strip():
            raise InputError("where() takes an SQL condition, such as 'image_width >= 256'")
        if len(condition) > _MAX_CONDITION:
            raise InputError(f"where(): at most {_MAX_CONDITION:,} characters are allowed")
        return replace(self, condition=condition)

    def select(self, *columns: str) -> Self:
        """Choose the gallery's columns to return after the scores, such as "thumbnail".

        Raises:
            InputError: a name is not a string, or there are too many.
        """
        if len(columns) > MAX_COLUMNS or not all(isinstance(c, str) for c in columns):
            raise InputError(f"select() takes up to {MAX_COLUMNS} names of columns")
        return replace(self, columns=columns)

    def limit(self, count: int) -> Self:
        """Return at most `count` rows, from 1 to 10,000.

        Raises:
            InputError: `count` is not such a number.
        """
        return replace(self, count=whole("limit", count, 1, MAX_ROWS))

    def offset(self, count: int) -> Self:
        """Leave out the best `count` rows, from 0 to 10,000.

        Raises:
            InputError: `count` is not such a number.
        """
        return replace(self, start=whole("offset", count, 0, MAX_ROWS))

    def range(self, min_score: float) -> Self:
        """Return only rows whose score is at least `min_score`.

        The score is the one that ranks the rows: `_score`, or `_calibrated` where the list has it.

        Raises:
            InputError: it is not a finite number.
        """
        return replace(self, floor=number("range", min_score, -np.inf, np.inf))

    def timeout(self, seconds: float) -> Self:
        """Give up after so many seconds, up to an hour, with QueryTimeoutError.

        Raises:
            InputError: it is not a positive number.
        """
        return replace(self, seconds=number("timeout", seconds, 0, MAX_SECONDS))

    def release(self, number: int) -> Self:
        """Search the release with this number, if it is still kept.

        Raises:
            InputError: it is not a positive whole number.
        """
        return replace(self, number=whole("release", number, 1, 1 << 31))

    def like(self, *ids: str) -> Self:
        """Add relevant items to the query, as a round of feedback by Rocchio (1971) does.

        The inputs so far count 1, the mean of these items 0.75. They are left out of the result.

        Raises:
            InputError: an id is no string, or the query has too many inputs.
        """
        return self._with_feedback(ids, _LIKED)

    def unlike(self, *ids: str) -> Self:
        """Add items that are not relevant: the mean of these counts -0.25. See `like`."""
        return self._with_feedback(ids, -_UNLIKED)

    def _with_feedback(self, ids: Sequence[str], weight: float) -> Self:
        if not ids:
            raise InputError("like() and unlike() take ids of parts or samples")
        if self.compound is not None:
            raise InputError("like() and unlike(): give feedback to the parts of a compound query")
        added = [id_input(each).times(weight / len(ids)) for each in ids]
        queries = tuple(scaled_to_one([*inputs, *added]) for inputs in self.inputs)
        return replace(self, inputs=queries)

    def dedup(self, similarity: float = 0.94) -> Self:
        """Leave out near-duplicates: items whose cosine with a better row is at least `similarity`.

        The list is filled up with the next rows, of the best 2,000.

        Raises:
            InputError: it is not a number above 0 and up to 1.
        """
        return replace(self, duplicate=number("dedup", similarity, 0, 1))

    def diverse(self, relevance: float = 0.7) -> Self:
        """Order the best rows by maximal marginal relevance, so that they differ from each other.

        Args:
            relevance: the share of the score; the rest is unlikeness to the rows before.

        Raises:
            InputError: it is not a number above 0 and up to 1.
        """
        return replace(self, relevance=number("diverse", relevance, 0, 1))

    def hybrid(
        self, text: str | None = None, weight: float = 0.5, words: bool | None = None
    ) -> Self:
        """Search captions for words too, and fuse both lists by reciprocal rank.

        Every gallery can be searched so: an item has the caption of its sample. The rows get the
        columns `_fused`, which ranks them, and `_text_score` (BM25; null if no word is in the
        caption). See `store.search.hybrid`. Only corrections that are compiled into the release
        can be used.

        Args:
            text: of up to 64 different words, in any order. Default: each query's own texts.
            weight: of the full-text list, above 0 up to 1. The list of vectors has the rest.
            words: search the words that items were given too (`words:` of corpus.yaml), as a third
                list of the same weight. None: where the release adopted this.

        Raises:
            InputError: this is not a text, it has too many words, or the weight is out of range.
        """
        if words not in (True, False, None):
            raise InputError("hybrid(): words must be true, false or null")
        full_text = FullText(text, number("hybrid", weight, 0, 1), words)
        if text is not None:
            full_text.words([(text_input(text),)])
        return replace(self, full_text=full_text)
