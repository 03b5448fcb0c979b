"""A lazy query with chained methods. It runs when a `to_*` method, `run` or `show` is called."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from store.corrections.recipe import METHODS, recipe
from store.errors import DamagedTableError, InputError, NotFoundError
from store.search.corrected_search import WeightedInput, check_columns, search_corrected
from store.search.opened import OpenRelease
from store.search.rescoring import rescore_candidates
from store.search.result import Hit, QueryContext, Result
from store.tables import schema
from store.tables.releases import Direction

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ["key", "caption"]
MAX_ROWS = 10_000
_SCORES = ["id", "modality", "_score", "_raw_score", "_bias", "rank"]


@dataclass(frozen=True)
class Query:
    """A query that has not run yet. Every method returns a new query; `to_*` and `show` run it.

    Attributes:
        opened: the release to search.
        inputs: what to encode, by modality. Empty where `vectors` are given.
        vectors: vectors (d,) of any length, by modality.
        weights: the weight of each input, by modality. They sum to one.
        gallery: the modality to search, or "any".
        correction: the method ("auto", "none" or a recipe's name) and its parameters.
        condition: an SQL condition on the gallery's columns.
        count: the largest number of rows to return.
        columns: the gallery's columns to return.
    """

    opened: OpenRelease
    inputs: Mapping[str, Any]
    vectors: Mapping[str, Any]
    weights: Mapping[str, float]
    gallery: str = "image"
    correction: tuple[str, dict[str, Any]] = ("auto", {})
    condition: str | None = None
    count: int = 10
    columns: tuple[str, ...] = tuple(COLUMNS)

    def among(self, modality: str) -> "Query":
        """Search the gallery of one modality, or of all ("any") with one merged list of results.

        Scores of different galleries are not comparable. The merged list is ranked by
        `_calibrated`: 0 is the mean score of unrelated pairs, and 1 the 98th percentile of their
        scores.

        Raises:
            InputError: the modality does not exist, or the release has no gallery for it.
        """
        allowed = (*schema.MODALITIES, "any")
        if modality not in allowed:
            raise InputError(f"among({modality!r}): allowed are {', '.join(allowed)}")
        present = self.opened.release.modalities
        if modality != "any" and modality not in present:
            raise InputError(
                f"among({modality!r}): release {self.opened.release.number} has no {modality}"
                f" gallery, it has {', '.join(present)}"
            )
        return replace(self, gallery=modality)

    def correct(self, method: str, **params: Any) -> "Query":
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
            return replace(self, correction=("auto", {}))
        try:
            method_recipe = recipe(method, params)
        except InputError as error:
            allowed = f"auto, {', '.join(METHODS)}, and compositions such as invgc_local+nnn"
            raise InputError(f"correct({method!r}): {error}; allowed are {allowed}") from None
        return replace(self, correction=(method_recipe.name, params))

    def where(self, condition: str) -> "Query":
        """Search only rows that meet an SQL condition on the gallery's columns.

        Raises:
            InputError: the condition is not a string, or empty.
        """
        if not isinstance(condition, str) or not condition.strip():
            raise InputError("where() takes an SQL condition, such as 'image_width >= 256'")
        return replace(self, condition=condition)

    def limit(self, count: int) -> "Query":
        """Return at most `count` rows, from 1 to 10,000.

        Raises:
            InputError: `count` is not such a number.
        """
        if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= MAX_ROWS:
            raise InputError(f"limit({count!r}): expected a whole number from 1 to {MAX_ROWS}")
        return replace(self, count=count)

    def select(self, *columns: str) -> "Query":
        """Choose the gallery's columns to return after the scores, such as "thumbnail"."""
        return replace(self, columns=columns)

    def run(self) -> Result:
        """Run the query.

        Raises:
            InputError: the condition cannot be used, or a vector does not fit the space.
            NotFoundError: a selected column does not exist, or there is no release.
            EncoderError: an input cannot be encoded in the release's space.
        """
        vectors = self._unit_vectors()
        self.opened.log(vectors)
        try:
            return self._run(vectors)
        except (DamagedTableError, NotFoundError):
            if not self.opened.reopen_if_moved():
                raise
            return self._run(vectors)

    def _run(self, vectors: Mapping[str, np.ndarray]) -> Result:
        inputs = [WeightedInput(m, v, self.weights[m]) for m, v in vectors.items()]
        searched = self.opened.release.modalities if self.gallery == "any" else [self.gallery]
        results = [self._search(inputs, modality) for modality in searched]
        rows = pa.concat_tables([r.rows for r in results], promote_options="permissive")
        if len(results) > 1:
            rows = rows.take(pc.sort_indices(rows, [("_calibrated", "descending")]))
        rows = rows.slice(0, self.count)
        rank = pa.array(np.arange(1, rows.num_rows + 1, dtype=np.int32))
        rows = rows.append_column("rank", rank)
        columns = [c for c in dict.fromkeys(self.columns) if c not in _SCORES]
        notes = tuple(dict.fromkeys(note for r in results for note in r.notes))
        context = QueryContext(self.opened, inputs, self.condition, rows["part_id"].to_pylist())
        calibrated = ["_calibrated"] if len(results) > 1 else []
        rows = rows.select([*_SCORES, *calibrated, *columns])
        return Result(rows, all(r.complete for r in results), notes, context)

    def _unit_vectors(self) -> dict[str, np.ndarray]:
        if not self.vectors:
            return self.opened.encode(self.inputs)
        dim = self.opened.release.dim
        units = {}
        for modality, values in self.vectors.items():
            vector = np.asarray(values, np.float32)
            length = np.linalg.norm(vector)
            if vector.shape != (dim,) or not np.isfinite(length) or length == 0:
                raise InputError(
                    f"the {modality} vector has shape {vector.shape} and length {length:g};"
                    f" expected a finite, non-zero vector of shape ({dim},)"
                )
            units[modality] = vector / length
        return units

    def _search(self, inputs: list[WeightedInput], modality: str) -> "_GalleryResult":
        """Search one gallery."""
        release, table = self.opened.release, self.opened.gallery(modality)
        columns = list(
            dict.fromkeys(["id", "part_id", *(c for c in self.columns if c not in _SCORES)])
        )
        check_columns(table, columns)
        directions = {
            i.modality: release.directions.get(f"{i.modality}->{modality}") for i in inputs
        }
        method = self.correction[0]
        notes: tuple[str, ...] = ()
        if self._is_compiled(directions.values()):
            compiled = {m: d for m, d in directions.items() if d and d.method != "none"}
            active = {} if method == "none" else compiled
            ranked = search_corrected(table, inputs, active, columns, self.condition, self.count)
        else:
            ranked = rescore_candidates(
                self.opened.banks,
                release,
                table,
                modality,
                inputs,
                self.correction,
                columns,
                self.condition,
                self.count,
            )
            notes = (
                f"{method} is not compiled into this release: the best {ranked.fetched} raw"
                " candidates were rescored",
            )
        rows = ranked.rows
        rows = rows.append_column("modality", pa.array([modality] * rows.num_rows, pa.string()))
        scales = [(i.weight, d) for i in inputs if (d := directions[i.modality])]
        zero = sum(weight * d.zero for weight, d in scales)
        unit = sum(weight * d.unit for weight, d in scales) or 1.0
        calibrated = pa.array((rows["_score"].to_numpy() - zero) / unit)
        rows = rows.append_column("_calibrated", calibrated)
        return _GalleryResult(rows, ranked.complete, notes)

    def _is_compiled(self, directions: Iterable[Direction | None]) -> bool:
        """Whether the gallery's stored values give the requested correction for every input."""
        method, params = self.correction
        return method in ("auto", "none") or all(
            d is not None
            and d.method == method
            and (not params or recipe(method, params).params == d.params)
            for d in directions
        )

    def to_arrow(self) -> pa.Table:
        """Run the query and return its rows, best first.

        Returns:
            The columns id, modality, _score, _raw_score, _bias, rank, then the selected columns.
            A search of "any" also has _calibrated.
        """
        return self.run().rows

    def to_pandas(self) -> "pd.DataFrame":
        """Run the query and return the rows of `to_arrow` as a data frame.

        Raises:
            NotFoundError: pandas is not installed.
        """
        try:
            return self.to_arrow().to_pandas()
        except ModuleNotFoundError:
            raise NotFoundError(
                "pandas is not installed: pip install 'isotrope[pandas]', or use to_arrow()"
            ) from None

    def to_list(self) -> list[dict[str, Any]]:
        """Run the query and return the rows of `to_arrow` as dictionaries."""
        return self.to_arrow().to_pylist()

    def __iter__(self) -> Iterator[Hit]:
        """Run the query; iterate over its hits, each of which has `explain()`."""
        return iter(self.run())

    def show(self) -> None:
        """Run the query and print the result as a table."""
        self.run().show()


@dataclass(frozen=True)
class _GalleryResult:
    """The rows of one gallery; see `Result`."""

    rows: pa.Table
    complete: bool
    notes: tuple[str, ...]
