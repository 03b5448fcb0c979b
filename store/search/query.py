"""A query as an immutable value: what to search for, where, and what to return.

Every method returns a new query. A query can be compared, hashed, printed, written to JSON and read
back (`store.search.query_json`). `store.search.execute` runs it on an open release;
`store.search.search.Search` is a query together with the corpus that it searches.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np

from store.corrections.recipe import METHODS, recipe
from store.errors import InputError
from store.search.gather import gather
from store.search.inputs import Inputs, id_input, scaled_to_one
from store.search.numbers import number, whole
from store.search.query_json import COLUMNS, MAX_COLUMNS, QueryJson, parse, write
from store.search.query_text import query_text
from store.tables.schema import MODALITIES

LEVELS = (*MODALITIES, "any")
MAX_ROWS = 10_000
MAX_SECONDS = 3600.0
_LIKED, _UNLIKED = 0.75, 0.25  # weights of Rocchio's feedback, beside a query of weight 1
_MAX_CONDITION = 10_000  # characters


@dataclass(frozen=True)
class Query:
    """A query. `Corpus.search` and `from_json` make it.

    Attributes:
        inputs: the inputs of each query of a batch. The positive weights of a query sum to one.
        is_batch: whether lists of inputs were given.
        gallery: the modality to search, or "any".
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

    @classmethod
    def of(
        cls,
        text: Any = None,
        image: Any = None,
        audio: Any = None,
        *,
        vectors: Mapping[str, Any] | None = None,
        ids: Any = None,
        weights: Sequence[float] | None = None,
        negative: Mapping[str, Any] | None = None,
    ) -> "Query":
        """Make a query from the arguments of `Corpus.search`.

        Raises:
            InputError: there is no input, or an argument is wrong.
        """
        return cls(*gather(text, image, audio, vectors, ids, weights, negative))

    def among(self, level: str) -> Self:
        """Search the gallery of one modality, or of all ("any") with one merged list of results.

        Scores of different galleries are not comparable. The merged list is ranked by
        `_calibrated`: 0 is the mean score of unrelated pairs, and 1 the 98th percentile of their
        scores.

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

    def to_json(self) -> str:
        """Write the query as JSON. Files of images and recordings are read and included.

        Raises:
            InputError: a file is missing.
        """
        correct: Any = self.method
        if self.params:
            correct = {"method": self.method, "params": dict(self.params)}
        options = {
            "among": self.gallery,
            "correct": correct,
            "where": self.condition,
            "select": list(self.columns),
            "limit": self.count,
            "offset": self.start,
            "min_score": self.floor,
            "timeout": self.seconds,
            "release": self.number,
            "dedup": self.duplicate,
            "diverse": self.relevance,
        }
        return write(self.inputs, self.is_batch, options)

    @classmethod
    def from_json(cls, data: str | bytes) -> "Query":
        """Read a query that `to_json` wrote, or that another program wrote in the same form.

        The text may come from a stranger: sizes are bounded, and no file is read.

        Raises:
            InputError: it is not such a query. The message names the first wrong field.
        """
        return cls.from_model(parse(data))

    @classmethod
    def from_model(cls, model: QueryJson) -> "Query":
        """Make the query that a parsed JSON text describes.

        Raises:
            InputError: a value is out of range.
        """
        query = Query(model.to_inputs(), model.queries is not None).among(model.among)
        query = query.select(*model.select).limit(model.limit).offset(model.offset)
        if isinstance(model.correct, str):
            query = query.correct(model.correct)
        else:
            query = query.correct(model.correct.method, **model.correct.params)
        query = query if model.where is None else query.where(model.where)
        query = query if model.min_score is None else query.range(model.min_score)
        query = query if model.timeout is None else query.timeout(model.timeout)
        query = query if model.dedup is None else query.dedup(model.dedup)
        query = query if model.diverse is None else query.diverse(model.diverse)
        return query if model.release is None else query.release(model.release)

    @property
    def value(self) -> "Query":
        """The query alone, without a corpus."""
        return Query(**{field.name: getattr(self, field.name) for field in fields(Query)})

    def __str__(self) -> str:
        return query_text(self)
