"""A query in the making: a fluent, lazy query whose last word is `to_something`."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from store.corrections.recipe import METHODS, recipe
from store.errors import InputError, NotFoundError
from store.search import rescoring
from store.search.corrected_search import Weighted, check_columns, corrected
from store.search.result import Hit, QueryContext, Result
from store.tables import schema
from store.tables.releases import Direction

if TYPE_CHECKING:
    import pandas as pd

    from store.search.corpus import Corpus

COLUMNS = ["key", "caption"]
MOST_ROWS = 10_000
_SCORES = ["id", "modality", "_score", "_raw_score", "_bias", "rank"]


@dataclass(frozen=True)
class Query:
    """A query in the making. Every word returns a new query; `to_*` and `show` run it."""

    corpus: "Corpus"
    inputs: Mapping[str, Any]
    vectors: Mapping[str, Any]
    shares: Mapping[str, float]
    gallery: str = "image"
    spec: tuple[str, dict[str, Any]] = ("auto", {})
    condition: str | None = None
    count: int = 10
    columns: tuple[str, ...] = tuple(COLUMNS)

    def among(self, modality: str) -> "Query":
        """Search one modality's gallery, or "any": all of them in one list.

        Scores of different galleries do not compare: such a list is ranked by `_calibrated`, where
        0 is the score of a stranger and 1 that of the best two in a hundred strangers.
        """
        allowed = (*schema.MODALITIES, "any")
        if modality not in allowed:
            raise InputError(f"among({modality!r}): allowed are {', '.join(allowed)}")
        present = self.corpus.release.modalities
        if modality != "any" and modality not in present:
            raise InputError(
                f"among({modality!r}): release {self.corpus.release.number} has no {modality}"
                f" gallery, it has {', '.join(present)}"
            )
        return replace(self, gallery=modality)

    def correct(self, method: str, **params: Any) -> "Query":
        """How hubs are corrected: "auto" (what the release selected), "none", a method with or
        without its parameters, or a composition such as "invgc_local+nnn".

        A method that the release has not compiled rescores the best raw candidates, and the
        result's `complete` is false.
        """
        if method == "auto":
            if params:
                raise InputError('correct("auto") takes no parameters: name a method')
            return replace(self, spec=("auto", {}))
        try:
            found = recipe(method, params)
        except InputError as error:
            allowed = f"auto, {', '.join(METHODS)}, and compositions such as invgc_local+nnn"
            raise InputError(f"correct({method!r}): {error}; allowed are {allowed}") from None
        return replace(self, spec=(found.name, params))

    def where(self, condition: str) -> "Query":
        """An SQL condition on the gallery's columns, applied before the search."""
        if not isinstance(condition, str) or not condition.strip():
            raise InputError("where() takes an SQL condition, such as 'image_width >= 256'")
        return replace(self, condition=condition)

    def limit(self, count: int) -> "Query":
        if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= MOST_ROWS:
            raise InputError(f"limit({count!r}): a whole number from 1 to {MOST_ROWS} is expected")
        return replace(self, count=count)

    def select(self, *columns: str) -> "Query":
        """The gallery's columns to return after the scores, such as "thumbnail"."""
        return replace(self, columns=columns)

    def run(self) -> "Result":
        """Search now.

        Raises:
            InputError: the condition cannot be used, or a vector does not fit the space.
            NotFoundError: a selected column does not exist, or there is no release.
            EncoderError: an input cannot be encoded in the release's space.
        """
        vectors = self._unit_vectors()
        self.corpus.log(vectors)
        inputs = [Weighted(m, v, self.shares[m]) for m, v in vectors.items()]
        wanted = self.corpus.release.modalities if self.gallery == "any" else [self.gallery]
        parts = [self._search(inputs, modality) for modality in wanted]
        rows = pa.concat_tables([p.rows for p in parts], promote_options="permissive")
        if len(parts) > 1:
            rows = rows.take(pc.sort_indices(rows, [("_calibrated", "descending")]))
        rows = rows.slice(0, self.count)
        rank = pa.array(np.arange(1, rows.num_rows + 1, dtype=np.int32))
        rows = rows.append_column("rank", rank)
        rest = [c for c in dict.fromkeys(self.columns) if c not in _SCORES]
        notes = tuple(dict.fromkeys(n for p in parts for n in p.notes))
        asked = QueryContext(self.corpus, inputs, self.condition, rows["part_id"].to_pylist())
        scale = ["_calibrated"] if len(parts) > 1 else []  # what several galleries are ranked by
        shown = rows.select([*_SCORES, *scale, *rest])
        return Result(shown, all(p.complete for p in parts), notes, asked)

    def _unit_vectors(self) -> dict[str, np.ndarray]:
        if not self.vectors:
            return self.corpus.encode(self.inputs)
        dim = self.corpus.release.dim
        units = {}
        for modality, given in self.vectors.items():
            vector = np.asarray(given, np.float32)
            length = np.linalg.norm(vector)
            if vector.shape != (dim,) or not np.isfinite(length) or length == 0:
                raise InputError(
                    f"the {modality} vector has shape {vector.shape} and length {length:g};"
                    f" a finite, non-zero vector of shape ({dim},) is expected"
                )
            units[modality] = vector / length
        return units

    def _search(self, inputs: list[Weighted], modality: str) -> "_Part":
        release, table = self.corpus.release, self.corpus.gallery(modality)
        columns = list(
            dict.fromkeys(["id", "part_id", *(c for c in self.columns if c not in _SCORES)])
        )
        check_columns(table, columns)
        ways = {i.modality: release.directions.get(f"{i.modality}->{modality}") for i in inputs}
        notes: tuple[str, ...] = ()
        if self._is_stored(ways.values()):
            compiled = {m: d for m, d in ways.items() if d is not None and d.method != "none"}
            active = {} if self.spec[0] == "none" else compiled
            found = corrected(table, inputs, active, columns, self.condition, self.count)
        else:
            found = rescoring.candidates(
                self.corpus.banks,
                release,
                table,
                modality,
                inputs,
                self.spec,
                columns,
                self.condition,
                self.count,
            )
            notes = (
                f"{self.spec[0]} is not compiled into this release: the best"
                f" {found.fetched} raw candidates were rescored",
            )
        rows = found.rows.append_column(
            "modality", pa.array([modality] * found.rows.num_rows, pa.string())
        )
        known = [(i.weight, ways[i.modality]) for i in inputs]
        zero = sum(w * d.zero for w, d in known if d)
        unit = sum(w * d.unit for w, d in known if d) or 1.0
        calibrated = (rows["_score"].to_numpy() - zero) / unit
        return _Part(rows.append_column("_calibrated", pa.array(calibrated)), found.complete, notes)

    def _is_stored(self, ways: Iterable[Direction | None]) -> bool:
        """Whether the release has what is asked for: for every input, or by "auto" or "none"."""
        method, params = self.spec
        return method in ("auto", "none") or all(
            d is not None
            and d.method == method
            and (not params or recipe(method, params).params == d.params)
            for d in ways
        )

    def to_arrow(self) -> pa.Table:
        """Columns id, modality, _score, _raw_score, _bias, rank, then the selected ones; among
        "any" also _calibrated."""
        return self.run().rows

    def to_pandas(self) -> "pd.DataFrame":
        """The same. Raises NotFoundError where pandas is not installed."""
        try:
            return self.to_arrow().to_pandas()
        except ModuleNotFoundError:
            raise NotFoundError(
                "pandas is not installed: pip install 'isotrope[pandas]'; to_arrow() does without"
            ) from None

    def to_list(self) -> list[dict[str, Any]]:
        return self.to_arrow().to_pylist()

    def __iter__(self) -> Iterator[Hit]:
        """Run it; each hit can be asked to `explain()` itself."""
        return iter(self.run())

    def show(self) -> None:
        """Print the result as a table."""
        self.run().show()


@dataclass(frozen=True)
class _Part:
    rows: pa.Table
    complete: bool
    notes: tuple[str, ...]
