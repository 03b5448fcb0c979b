"""A query together with the corpus that it searches: it runs when a `to_*` method is called."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import pyarrow as pa

from store.errors import InputError
from store.search.plan import Plan
from store.search.query import Query
from store.search.result import Hit, Result

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

    from store.search.explanation import Explanation
    from store.search.suggestion import Suggestion


class Runner(Protocol):
    """Runs queries: an open release, or a client of a server."""

    def run(self, query: Query) -> Result: ...

    def plan(self, query: Query) -> Plan: ...

    def suggest(self, query: Query, count: int) -> "list[Suggestion]": ...


@dataclass(frozen=True)
class Search(Query):
    """A query that has not run yet. Every method returns a new one; `to_*` and `show` run it.

    Attributes:
        runner: runs the query.
    """

    runner: Runner | None = field(default=None, repr=False, compare=False)

    def run(self) -> Result:
        """Run the query.

        Raises:
            InputError: the condition cannot be used, a vector does not fit the space, or the
                release has no such gallery.
            NotFoundError: a selected column or an id does not exist, or there is no release.
            EncoderError: an input cannot be encoded in the release's space.
            QueryTimeoutError: it ran for longer than `timeout` allows.
        """
        return self._runner().run(self.value)

    def explain(self) -> Plan:
        """What the query will do, without running it. See `store.search.plan.Plan`.

        Raises:
            InputError, NotFoundError: as `run`.
        """
        return self._runner().plan(self.value)

    def explain_row(self, row: int = 0) -> "Explanation":
        """Run the query and explain the rank of a row, from 0. See `Result.explain`."""
        return self.run().explain(row)

    def suggest(self, count: int = 5) -> "list[Suggestion]":
        """Suggest changes of the query's text, one for each cluster of its best 200 results.

        See `store.search.suggest.suggest`.
        """
        return self._runner().suggest(self.value, count)

    def to_arrow(self) -> pa.Table:
        """Run the query and return its rows, best first.

        Returns:
            The columns id, modality, _score, _raw_score, _bias, rank, then the selected columns.
            A search of "any" also has _calibrated, one of "sample" also part_id, a hybrid search
            _fused and _text_score, an expanded one _expanded, late interaction _late and _max_sim.
            A search of moments has _start and _end, or _box, or both, which may be null.
            A batch has the column `query` first: the number of the query in the batch, from 0.
        """
        return self.run().rows

    def to_pandas(self) -> "pd.DataFrame":
        """Run the query and return the rows of `to_arrow` as a data frame.

        Raises:
            MissingPackageError: pandas is not installed.
        """
        return self.run().to_pandas()

    def to_polars(self) -> "pl.DataFrame":
        """Run the query and return the rows of `to_arrow` as a polars data frame.

        Raises:
            MissingPackageError: polars is not installed.
        """
        return self.run().to_polars()

    def to_list(self) -> list[dict[str, Any]]:
        """Run the query and return the rows of `to_arrow` as dictionaries."""
        return self.to_arrow().to_pylist()

    def __iter__(self) -> Iterator[Hit]:
        """Run the query; iterate over its hits, each of which has `explain()`."""
        return iter(self.run())

    def show(self) -> None:
        """Run the query and print the result as a table."""
        self.run().show()

    def _runner(self) -> Runner:
        if self.runner is None:
            raise InputError("this query has no corpus: run it as corpus.run(query)")
        return self.runner


S = TypeVar("S", bound=Query)


class Searchable(Generic[S]):
    """What a corpus and the clients of a server have in common: the word that starts a search."""

    def _bind(self, query: Query) -> S:
        """The query as a search of this corpus."""
        raise NotImplementedError

    def search(
        self,
        text: str | list[str] | None = None,
        image: Any = None,
        audio: Any = None,
        *,
        vectors: Mapping[str, Any] | None = None,
        ids: str | Sequence[str] | None = None,
        weights: Sequence[float] | None = None,
        negative: Mapping[str, Any] | None = None,
    ) -> S:
        """Start a query from one input or several. It runs when a `to_*` method is called.

        A list of texts, images, recordings or vectors makes a batch: one query for each element,
        encoded together. Single inputs beside a list are part of every query.

        Args:
            text: a text.
            image: a path, encoded bytes, a PIL image, or uint8 (h, w) or (h, w, 3 or 4).
            audio: a path, encoded bytes, or (samples (n,) or (n, channels), rate in Hz).
            vectors: vectors (d,) of the release's space by modality; (n, d) makes a batch.
            ids: ids of parts or samples of the release, whose vectors are used ("more like
                this"). Of a sample, all parts count equally. They are left out of the result.
            weights: one number for each input, in the order text, image, audio, vectors, ids. They
                are scaled to sum to one. Default: equal weights.
            negative: inputs whose likeness lowers the score, by the names of these arguments, such
                as {"text": "a drawing"}. Their `weights` are not scaled. Default: 0.5 together.

        Raises:
            InputError: there is no input, or an argument is wrong.
        """
        query = Query.of(
            text,
            image,
            audio,
            vectors=vectors,
            ids=ids,
            weights=weights,
            negative=negative,
        )
        return self._bind(query)
