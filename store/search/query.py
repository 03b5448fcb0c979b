"""A query as an immutable value: what to search for, where, and what to return.

Every method returns a new query. A query can be compared, hashed, printed, written to JSON and read
back (`store.search.query_json`). `store.search.execute` runs it on an open release;
`store.search.search.Search` is a query together with the corpus that it searches.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from store.search.compound import from_value
from store.search.gather import gather
from store.search.query_json import OPTIONS, QueryJson, parse, write
from store.search.query_text import query_text
from store.search.system_options import SystemOptions


@dataclass(frozen=True)
class Query(SystemOptions):
    """A query. `Corpus.search` and `from_json` make it."""

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

    def to_json(self, packed: bool = False) -> str:
        """Write the query as JSON. Files of images and recordings are read and included.

        Args:
            packed: write vectors as base64, which is shorter and quicker, and not to be read.

        Raises:
            InputError: a file is missing.
        """
        correct: Any = self.method
        if self.params:
            correct = {"method": self.method, "params": dict(self.params)}
        options = {name: getattr(self, attribute) for name, attribute in OPTIONS.items()}
        options |= {"among": self.gallery, "correct": correct, "select": list(self.columns)}
        options["compound"] = None if self.compound is None else self.compound.to_value()
        options["hybrid"] = None if self.full_text is None else self.full_text.to_value()
        options["expand"] = None if self.expansion is None else vars(self.expansion)
        options["late"] = None if self.interaction is None else vars(self.interaction)
        return write(self.inputs, self.is_batch or self.compound is not None, options, packed)

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
        compound = None if model.compound is None else from_value(model.compound)
        is_batch = model.queries is not None and compound is None
        query = Query(model.to_inputs(), is_batch, compound=compound).among(model.among)
        if compound is not None:
            compound.check(len(query.inputs))
        query = query.select(*model.select)
        if isinstance(model.correct, str):
            query = query.correct(model.correct)
        else:
            query = query.correct(model.correct.method, **model.correct.params)
        for name, word in _WORDS.items():
            if (value := getattr(model, name)) is not None:
                query = word(query, value)
        return query

    @property
    def value(self) -> "Query":
        """The query alone, without a corpus."""
        return Query(**{field.name: getattr(self, field.name) for field in fields(Query)})

    def __str__(self) -> str:
        return query_text(self)


# The words that set options, by the names of these in JSON.
_WORDS: dict[str, Callable[[Query, Any], Query]] = {
    "where": Query.where,
    "limit": Query.limit,
    "offset": Query.offset,
    "min_score": Query.range,
    "timeout": Query.timeout,
    "release": Query.release,
    "dedup": Query.dedup,
    "diverse": Query.diverse,
    "route": Query.route,
    "combine": Query.combine,
    "aggregate": Query.aggregate,
    "moments": Query.moments,
    "expand": lambda query, given: query.expand(given.hops, given.alpha),
    "late": lambda query, given: query.late(given.depth, given.weight),
    "hybrid": lambda query, given: query.hybrid(given.text, given.weight, given.words),
}
