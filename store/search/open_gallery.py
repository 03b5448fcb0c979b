"""One gallery opened for search: its table, its index, and the search of one vector column."""

import os
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from math import ceil
from typing import Any

import lance
import numpy as np
import pyarrow as pa
from lance.query import MatchQuery

from store.config.index import FLAT_ROWS
from store.errors import InputError, NotFoundError, first_line
from store.search.batch_scan import scan_best
from store.search.column_query import Access, ColumnQuery, Fetched
from store.tables.damage import detected
from store.tables.indexes import FLAT, GalleryIndex, Probe

ROW_ID = "_rowid"
_MOST_PROBE_GROWTH = 8  # for conditions that few rows satisfy
MOST_TOGETHER = 1_000  # rows for each query of a batch that is scanned together
_COUNTS = 256  # of rows that satisfy a condition, kept in memory


@dataclass(frozen=True)
class OpenGallery:
    """A gallery at the version of a release.

    Attributes:
        table: its rows.
        modality: of its items.
        index: how it is indexed.
    """

    table: lance.LanceDataset
    modality: str = "image"
    index: GalleryIndex = field(default_factory=GalleryIndex)
    _counts: OrderedDict[str, int] = field(default_factory=OrderedDict, repr=False, compare=False)

    @property
    def filter_columns(self) -> list[str]:
        """The columns that a condition can name."""
        hidden = ("vector", "thumbnail", "words")
        return [n for n in self.table.schema.names if not n.startswith(hidden)]

    def check_columns(self, columns: list[str]) -> None:
        """Raise NotFoundError for a column that cannot be returned."""
        allowed = [n for n in self.table.schema.names if not n.startswith("vector")]
        for column in columns:
            if column not in allowed:
                raise NotFoundError(f"no column {column!r}; columns: {', '.join(allowed)}")

    def fetch(
        self, query: ColumnQuery, count: int, columns: list[str], where: str | None
    ) -> Fetched:
        """Search one vector column, by the index if the query names its settings.

        Args:
            query: the column and the vector.
            count: the largest number of rows.
            columns: to return.
            where: a condition that rows must satisfy.

        Raises:
            InputError: `where` is not a condition on the gallery's columns.
            DamagedTableError: the gallery cannot be read.
        """
        probe = self.access(query, count, where).probe
        nearest: dict[str, Any] = {"column": query.column, "q": query.vector, "k": count}
        if probe is None:
            nearest |= {"metric": "dot", "use_index": False}
        else:
            # As many candidates are ranked anew as when the setting was measured.
            refine = ceil(probe.refine * probe.depth / count)
            nearest |= {"minimum_nprobes": probe.nprobes, "refine_factor": refine}
        rows = None
        if probe is not None and where is None:
            # To prepare for more partitions costs Lance a quarter of a search.
            bounded = nearest | {"maximum_nprobes": probe.nprobes}
            rows = self._nearest(bounded, columns, where)
        if rows is None or rows.num_rows < count:
            # Without an upper bound, Lance probes on until it has `count` rows.
            rows = self._nearest(nearest, columns, where)
        # Lance's distance "dot" is 1 - dot.
        score = 1 - rows["_distance"].to_numpy() + np.float32(query.offset)
        rows = rows.drop_columns(["_distance"]).append_column("_column_score", pa.array(score))
        return Fetched(rows, probe is None, 1.0 if probe is None else probe.recall)

    def _nearest(self, nearest: dict[str, Any], columns: list[str], where: str | None) -> pa.Table:
        """The rows that Lance finds, with their `_distance`."""
        with self.checked(where):
            return self.table.scanner(
                columns=[*(c for c in columns if c != ROW_ID), "_distance"],
                filter=where,
                prefilter=True,
                nearest=nearest,
                with_row_id=ROW_ID in columns,
            ).to_table()

    def fetch_many(
        self, queries: Sequence[ColumnQuery], count: int, columns: list[str], where: str | None
    ) -> list[Fetched]:
        """Search one vector column for each query.

        Queries that scan a column scan it together. Those that use an index run on all cores.

        The arguments and errors are those of `fetch`.
        """
        answers: dict[int, Fetched] = {}
        scanning: dict[str, list[int]] = {}
        for number, query in enumerate(queries):
            if self.access(query, count, where).probe is None:
                scanning.setdefault(query.column, []).append(number)
        for column, numbers in scanning.items():
            if len(numbers) > 1 and count <= MOST_TOGETHER:
                together = [queries[number] for number in numbers]
                fetched = self._scan(column, together, count, columns, where)
                answers |= dict(zip(numbers, fetched, strict=True))
        alone = [number for number in range(len(queries)) if number not in answers]
        if len(alone) < 2:
            answers |= {n: self.fetch(queries[n], count, columns, where) for n in alone}
        else:
            with ThreadPoolExecutor(min(len(alone), os.cpu_count() or 1)) as threads:
                made = threads.map(lambda n: self.fetch(queries[n], count, columns, where), alone)
                answers |= dict(zip(alone, made, strict=True))
        return [answers[number] for number in range(len(queries))]

    def _scan(
        self,
        column: str,
        queries: Sequence[ColumnQuery],
        count: int,
        columns: list[str],
        where: str | None,
    ) -> list[Fetched]:
        """Scan one column for several queries."""
        vectors = np.stack([query.vector for query in queries])
        with self.checked(where):
            best = scan_best(self.table, column, vectors, count, where)
        distinct, position = np.unique(best.row_ids, return_inverse=True)
        read = [c for c in columns if c != ROW_ID]
        rows = self.take(distinct.tolist(), [*read, ROW_ID])
        rows = rows.take(pa.array(np.argsort(rows[ROW_ID].to_numpy()))).select(columns)
        ends = np.cumsum(best.lengths)
        fetched = []
        for query, end, length in zip(queries, ends, best.lengths, strict=True):
            own = slice(end - length, end)
            score = best.scores[own] + np.float32(query.offset)
            own_rows = rows.take(pa.array(position[own]))
            fetched.append(
                Fetched(own_rows.append_column("_column_score", pa.array(score)), True, 1.0)
            )
        return fetched

    def match_text(
        self, text: str, count: int, where: str | None, column: str = "caption"
    ) -> pa.Table:
        """The rows whose captions, or the words that they were given, fit a text best, by BM25.

        Words are compared without case and endings; a row that has none of them does not match.
        Without a full-text index the column is scanned.

        Args:
            text: words with blanks between them.
            count: the largest number of rows.
            where: a condition that rows must satisfy.
            column: "caption" or "words_text".

        Returns:
            `part_id`, `_score` and `_rowid`, best first.

        Raises:
            InputError: `where` is not a condition on the gallery's columns.
        """
        with self.checked(where):
            return self.table.scanner(
                columns=["part_id", "_score"],
                filter=where,
                prefilter=True,
                # A structured query: the text is never parsed as one.
                full_text_query=MatchQuery(text, column),
                limit=count,
                with_row_id=True,
            ).to_table()

    def take(self, row_ids: Sequence[int], columns: list[str]) -> pa.Table:
        """The rows with these ids of Lance, in no particular order."""
        ids = ", ".join(map(str, row_ids))
        condition = f"{ROW_ID} IN ({ids})" if ids else "false"
        read = [c for c in columns if c != ROW_ID]
        with detected(self.table.uri, self.table.version):
            return self.table.to_table(
                columns=read, filter=condition, with_row_id=ROW_ID in columns
            )

    def access(self, query: ColumnQuery, count: int, where: str | None) -> Access:
        """How a column is searched for `count` rows.

        Where few rows satisfy the condition, a scan of these is exact and cheap.
        """
        if self.index.type == FLAT:
            return Access(None, "the gallery has no index")
        if query.column not in self._indexed_columns:
            return Access(None, "the column has no index")
        if count >= self.index.rows:
            return Access(None, "all rows are wanted")
        probe = self.index.probe(query.probes, count) if query.probes else None
        if probe is None:
            bound = self.index.bound
            return Access(
                None, f"no setting of the index has a recall of {bound:g} for {count:,} rows"
            )
        measured = f"measured for up to {probe.depth:,} rows"
        if where is None:
            return Access(probe, measured)
        matches = self.count(where)
        if matches <= FLAT_ROWS:
            return Access(None, f"only {matches:,} rows satisfy the condition")
        growth = min(_MOST_PROBE_GROWTH, self.index.rows / matches)
        wider = Probe(**{**vars(probe), "nprobes": ceil(growth * probe.nprobes)})
        return Access(wider, f"{measured}; {growth:.1f} times as wide for the condition")

    @cached_property
    def _indexed_columns(self) -> set[str]:
        """The columns that have an index. A table may have lost it, and would answer wrongly."""
        if self.index.type == FLAT:
            return set()
        with detected(self.table.uri, self.table.version):
            return {name for i in self.table.describe_indices() for name in i.field_names}

    def count(self, where: str) -> int:
        """The number of rows that satisfy a condition. The table never changes, so it is kept."""
        if where not in self._counts:
            with self.checked(where):
                self._counts[where] = self.table.count_rows(where)
            while len(self._counts) > _COUNTS:
                self._counts.popitem(last=False)
        return self._counts[where]

    @contextmanager
    def checked(self, where: str | None) -> Iterator[None]:
        """Raise Lance's error for a condition whose types do not fit as InputError."""
        try:
            yield
        except (ValueError, OSError, RuntimeError) as error:
            if where is None:
                raise
            message, allowed = first_line(error)[:200], ", ".join(self.filter_columns)
            raise InputError(
                f"where={where!r} cannot be used: {message}; columns: {allowed}"
            ) from None
