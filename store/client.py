"""The query client: a fluent, lazy query whose last word is `to_something`.

corpus = isotrope.connect("data/stamps")
hits = corpus.search(text="a striped cat").among("image").where("image_width >= 256").limit(10)
hits.to_pandas()
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import lancedb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from store import releases, rescore, schema
from store.corrections import METHODS
from store.errors import EncoderError, InputError
from store.query_log import QueryLog
from store.releases import Release
from store.result import Result
from store.search import Weighted, check_columns, corrected
from store.tables import Tables

if TYPE_CHECKING:
    import pandas as pd

# (space name, space configuration, expected fingerprints, inputs) -> unit vector of each input
Encode = Callable[[str, Mapping[str, Any], Mapping[str, str], Mapping[str, Any]], Mapping]

COLUMNS = ["key", "caption"]
MOST_ROWS = 10_000
_SCORES = ["id", "modality", "_score", "_raw_score", "_bias", "rank"]


class Corpus:
    """One corpus, opened at its newest release. `isotrope.connect` makes it.

    Args:
        tables: where the tables are.
        encode: turns inputs into vectors; without it, queries are made of vectors.
        query_log: where the vectors of queries are logged; without it they are not.
    """

    def __init__(
        self, tables: Tables, encode: Encode | None = None, query_log: QueryLog | None = None
    ):
        self.tables = tables
        self._encode = encode
        self._query_log = query_log
        self._galleries: dict[str, lancedb.table.Table] = {}

    def __repr__(self) -> str:
        return f"Corpus({self.tables.root!r}, release {self.release.number})"

    @cached_property
    def release(self) -> Release:
        """The release that is searched. Raises NotFoundError where there is none yet."""
        return releases.latest(self.tables)

    def refresh(self) -> "Corpus":
        """Go on with the newest release."""
        self.__dict__.pop("release", None)
        self._galleries.clear()
        return self

    def close(self) -> None:
        """Write what the query log has not written yet, which is otherwise done at exit."""
        if self._query_log is not None:
            self._query_log.close()

    def gallery(self, modality: str) -> lancedb.table.Table:
        """The release's gallery of a modality, as a LanceDB table to read from."""
        if modality not in self._galleries:
            database = lancedb.connect(self.tables.root)
            table = database.open_table(self.release.gallery(modality))
            table.checkout(self.release.tag)
            self._galleries[modality] = table
        return self._galleries[modality]

    def search(
        self,
        text: str | None = None,
        image: Any = None,
        audio: Any = None,
        *,
        vectors: Mapping[str, Any] | None = None,
        weights: Sequence[float] | None = None,
    ) -> "Query":
        """Start a query from one input or several. Nothing runs until `to_something`.

        Args:
            text: a text.
            image: a path, encoded bytes, or a PIL image.
            audio: a path or encoded bytes.
            vectors: in place of the above, modality to a vector (d,) of the release's space.
            weights: one an input, in the order text, image, audio (or that of `vectors`);
                scaled to sum to one. Equal where left out.

        Raises:
            InputError: there is no input, or the weights do not fit.
        """
        given = {"text": text, "image": image, "audio": audio}
        raw = {m: v for m, v in given.items() if v is not None}
        if bool(raw) == bool(vectors):
            raise InputError(
                "search needs an input: text=, image= or audio=, or else vectors={modality: vector}"
            )
        named = list(vectors or raw)
        if unknown := [m for m in named if m not in schema.MODALITIES]:
            allowed = ", ".join(schema.MODALITIES)
            raise InputError(f"{unknown[0]!r} is not a modality; allowed: {allowed}")
        return Query(self, raw, dict(vectors or {}), _shares(weights, named))

    def encode(self, inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Unit vectors of inputs in the release's space.

        Raises:
            EncoderError: there is no encoder for the modality, or it is not the release's.
        """
        release = self.release
        if self._encode is None:
            raise EncoderError(
                "this client has no encoders: pass vectors=, or install isotrope[models] and use"
                " isotrope.connect"
            )
        made = self._encode(release.space, release.space_config, release.fingerprints, inputs)
        return dict(made)

    def log(self, vectors: Mapping[str, np.ndarray]) -> None:
        """Log a query's vectors by modality, where the corpus is opened with a query log."""
        if self._query_log is not None:
            self._query_log.add(self.release.space, self.release.fingerprints, vectors)


@dataclass(frozen=True)
class Query:
    """A query in the making. Every word returns a new query; `to_*` and `show` run it."""

    corpus: Corpus
    inputs: Mapping[str, Any]
    vectors: Mapping[str, Any]
    shares: Mapping[str, float]
    gallery: str = "image"
    method: str = "auto"
    condition: str | None = None
    count: int = 10
    columns: tuple[str, ...] = tuple(COLUMNS)

    def among(self, modality: str) -> "Query":
        """Search one modality's gallery, or "any": all of them in one list."""
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

    def correct(self, method: str) -> "Query":
        """How hubs are corrected: "auto" (what the release selected), "none", or a method.

        A method that the release has not compiled rescores the best raw candidates, and the
        result's `complete` is false.
        """
        if method not in ("auto", *METHODS):
            raise InputError(f"correct({method!r}): allowed are auto, {', '.join(METHODS)}")
        return replace(self, method=method)

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
        rows = rows.drop_columns(["_calibrated"]).slice(0, self.count)
        rank = pa.array(np.arange(1, rows.num_rows + 1, dtype=np.int32))
        rows = rows.append_column("rank", rank)
        rest = [c for c in dict.fromkeys(self.columns) if c not in _SCORES]
        notes = tuple(dict.fromkeys(n for p in parts for n in p.notes))
        return Result(rows.select([*_SCORES, *rest]), all(p.complete for p in parts), notes)

    def _unit_vectors(self) -> dict[str, np.ndarray]:
        if not self.vectors:
            return self.corpus.encode(self.inputs)
        table = self.corpus.gallery(self.corpus.release.modalities[0])
        dim = table.schema.field("vector").type.list_size
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
        columns = list(dict.fromkeys(["id", *(c for c in self.columns if c not in _SCORES)]))
        check_columns(table, columns)
        ways = {i.modality: release.directions.get(f"{i.modality}->{modality}") for i in inputs}
        compiled = {m: d for m, d in ways.items() if d is not None and d.method != "none"}
        notes: tuple[str, ...] = ()
        methods = {d.method if d else "none" for d in ways.values()}
        stored = self.method == "auto" or methods == {self.method}
        if self.method == "none" or stored:
            least = {} if self.method == "none" else {m: d.min_bias for m, d in compiled.items()}
            found = corrected(table, inputs, least, columns, self.condition, self.count)
        else:
            found = rescore.candidates(
                self.corpus.tables,
                release,
                table,
                modality,
                inputs,
                self.method,
                columns,
                self.condition,
                self.count,
            )
            notes = (
                f"{self.method} is not compiled into this release: the best"
                f" {found.fetched} raw candidates were rescored",
            )
        rows = found.rows.append_column(
            "modality", pa.array([modality] * found.rows.num_rows, pa.string())
        )
        known = [(i.weight, ways[i.modality]) for i in inputs]
        mean = sum(w * d.mean for w, d in known if d)
        deviation = sum(w * d.std for w, d in known if d) or 1.0
        calibrated = (rows["_score"].to_numpy() - mean) / deviation
        return _Part(rows.append_column("_calibrated", pa.array(calibrated)), found.complete, notes)

    def to_arrow(self) -> pa.Table:
        """Columns id, modality, _score, _raw_score, _bias, rank, then the selected ones."""
        return self.run().rows

    def to_pandas(self) -> "pd.DataFrame":
        return self.to_arrow().to_pandas()

    def to_list(self) -> list[dict[str, Any]]:
        return self.to_arrow().to_pylist()

    def show(self) -> None:
        """Print the result as a table."""
        self.run().show()


@dataclass(frozen=True)
class _Part:
    rows: pa.Table
    complete: bool
    notes: tuple[str, ...]


def _shares(weights: Sequence[float] | None, named: list[str]) -> dict[str, float]:
    given = [1.0] * len(named) if weights is None else [float(w) for w in weights]
    total = sum(given)
    if len(given) != len(named) or min(given) < 0 or not np.isfinite(total) or total <= 0:
        raise InputError(
            f"weights={weights!r}: one non-negative number is expected for each of"
            f" {', '.join(named)}, and not all zero"
        )
    return {m: w / total for m, w in zip(named, given, strict=True)}
