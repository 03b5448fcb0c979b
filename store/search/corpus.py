"""The query client: one corpus, opened at a release.

corpus = isotrope.connect("data/stamps")
hits = corpus.search(text="a striped cat").among("image").where("image_width >= 256").limit(10)
hits.to_pandas()
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import lancedb
import numpy as np
import pyarrow.compute as pc

from store.errors import EncoderError, InputError
from store.search.query import Query
from store.search.query_log import QueryLog
from store.tables import releases, schema
from store.tables.banks import ReleaseBanks
from store.tables.lance_tables import Tables
from store.tables.releases import Release

# (space name, space configuration, expected fingerprints, inputs) -> unit vector of each input
Encode = Callable[[str, Mapping[str, Any], Mapping[str, str], Mapping[str, Any]], Mapping]


class Corpus:
    """One corpus, opened at one of its releases. `isotrope.connect` makes it.

    Args:
        tables: where the tables are.
        encode: turns inputs into vectors; without it, queries are made of vectors.
        query_log: where the vectors of queries are logged; without it they are not.
        space: the space to search, the newest release's where it is None.
        number: of the release to search, the newest where it is None.
    """

    def __init__(
        self,
        tables: Tables,
        encode: Encode | None = None,
        query_log: QueryLog | None = None,
        *,
        space: str | None = None,
        number: int | None = None,
    ):
        self.tables = tables
        self._space = space
        self._number = number
        self._encode = encode
        self._query_log = query_log
        self._galleries: dict[str, lancedb.table.Table] = {}
        self._occurrence: dict[tuple[str, str], tuple[float, float]] = {}

    def __repr__(self) -> str:
        return f"Corpus({self.tables.root!r}, release {self.release.number})"

    @cached_property
    def release(self) -> Release:
        """The release that is searched. Raises NotFoundError where there is none yet."""
        if self._number is not None:
            return releases.numbered(self.tables, self._number)
        return releases.latest(self.tables, self._space)

    @cached_property
    def banks(self) -> ReleaseBanks:
        """The release's banks."""
        return ReleaseBanks(self.tables, self.release)

    def refresh(self) -> "Corpus":
        """Go on with the newest release, unless it was opened at a certain one."""
        self.__dict__.pop("release", None)
        self.__dict__.pop("banks", None)
        self._galleries.clear()
        self._occurrence.clear()
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

    def occurrence(self, gallery: str, query: str) -> tuple[float, float]:
        """Mean and standard deviation of a gallery's k-occurrence among a modality's queries."""
        column = f"occurrence_{query}"
        if (gallery, query) not in self._occurrence:
            counts = self.gallery(gallery).to_lance().to_table(columns=[column])[column]
            numbers = pc.drop_null(counts).to_numpy()
            self._occurrence[gallery, query] = (float(numbers.mean()), float(numbers.std()))
        return self._occurrence[gallery, query]

    def log(self, vectors: Mapping[str, np.ndarray]) -> None:
        """Log a query's vectors by modality, where the corpus is opened with a query log."""
        if self._query_log is not None:
            self._query_log.add(self.release.space, self.release.fingerprints, vectors)


def _shares(weights: Sequence[float] | None, named: list[str]) -> dict[str, float]:
    given = [1.0] * len(named) if weights is None else [float(w) for w in weights]
    total = sum(given)
    if len(given) != len(named) or min(given) < 0 or not np.isfinite(total) or total <= 0:
        raise InputError(
            f"weights={weights!r}: one non-negative number is expected for each of"
            f" {', '.join(named)}, and not all zero"
        )
    return {m: w / total for m, w in zip(named, given, strict=True)}
