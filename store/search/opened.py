"""A release opened for reading: its tables, its encoders and its query log."""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import lance
import numpy as np
import pyarrow.compute as pc

from store.corrections.prepared import Prepared
from store.errors import EncoderError, InputError
from store.search.open_gallery import OpenGallery
from store.search.query_log import QueryLog
from store.tables import damage, releases
from store.tables.banks import Banks
from store.tables.indexes import GalleryIndex, moments_index
from store.tables.lance_tables import Tables
from store.tables.names import bank_table, moments_table, tokens_table
from store.tables.releases import Release
from store.tables.schema import MODALITIES
from store.tables.tokens import TokenSets, fingerprint, token_space, unpack

if TYPE_CHECKING:
    import lancedb

# (space name, space configuration, expected fingerprints, inputs by modality) -> unit vectors
# (n, d) of the inputs by modality
Encode = Callable[
    [str, Mapping[str, Any], Mapping[str, str], Mapping[str, Sequence[Any]]],
    Mapping[str, np.ndarray],
]
_OTHER_RELEASES = 4  # that are kept open beside the own one


class OpenRelease:
    """One release of a corpus. Tables are opened when they are first used.

    Args:
        tables: the tables of the corpus.
        encode: turns inputs into vectors. Without it, queries must be given as vectors.
        query_log: where the vectors of queries are logged. Without it nothing is logged.
        space: the space to search. None: the main one.
        main_space: the space that `space:` of corpus.yaml names. None, or a space without a
            release: that of the newest release.
        number: the number of the release. None: the newest release.
    """

    def __init__(
        self,
        tables: Tables,
        encode: Encode | None = None,
        query_log: QueryLog | None = None,
        *,
        space: str | None = None,
        main_space: str | None = None,
        number: int | None = None,
    ):
        self.tables = tables
        self._space = space
        self._main_space = main_space
        self._number = number
        self.encoders = encode
        self._query_log = query_log
        self._galleries: dict[str, OpenGallery] = {}
        self._tokens: dict[str, lance.LanceDataset] = {}
        self._moments: dict[str, OpenGallery] = {}
        self._others: OrderedDict[int, OpenRelease] = OrderedDict()
        self._occurrence: dict[tuple[str, str], tuple[float, float]] = {}
        self.prepared: dict[Any, Prepared] = {}  # corrections, by direction, method and parameters
        self.token_corrections: dict[tuple[str, str], Prepared | None] = {}  # by both modalities
        # Mean and deviation of the bank's best scores, by the table and its queries (see `router`).
        self.best_scores: dict[tuple[str, str, bool, bool], tuple[float, float] | None] = {}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.tables.root!r}, release {self.release.number})"

    @cached_property
    def release(self) -> Release:
        """The release that is searched.

        Raises:
            NotFoundError: there is no such release.
        """
        if self._number is not None:
            return releases.release_by_number(self.tables, self._number)
        return releases.latest_release(self.tables, self._space, self._main_space)

    @cached_property
    def banks(self) -> Banks:
        """The release's banks. Their rows are read when they are needed."""
        name = bank_table(self.release.space)
        return Banks(self.tables.open(name, version=self.release.tag))

    def at(self, number: int | None) -> "OpenRelease":
        """The release with a number, with the same tables and encoders. None: this release.

        Raises:
            NotFoundError: there is no such release, or it is no longer kept.
        """
        if number is None or number == self.release.number:
            return self
        if number not in self._others:
            other = OpenRelease(self.tables, self.encoders, self._query_log, number=number)
            _ = other.release  # raises if it is not kept
            self._others[number] = other
            while len(self._others) > _OTHER_RELEASES:
                self._others.popitem(last=False)
        return self._others[number]

    def searched(self, gallery: str) -> list[str]:
        """The modalities whose galleries a query searches.

        Args:
            gallery: a modality. Every other level searches all galleries.

        Raises:
            InputError: the release has no gallery of this modality.
        """
        present = self.release.modalities
        if gallery not in MODALITIES:
            return present
        if gallery not in present:
            raise InputError(
                f"among({gallery!r}): release {self.release.number} has no {gallery}"
                f" gallery, it has {', '.join(present)}"
            )
        return [gallery]

    def reopened(self, encoders: Encode | None = None) -> Self:
        """The same corpus, opened anew: at its newest release, or again at its fixed one.

        Args:
            encoders: used instead of the present ones.
        """
        return type(self)(
            self.tables,
            encoders or self.encoders,
            self._query_log,
            space=self._space,
            main_space=self._main_space,
            number=self._number,
        )

    def gallery(self, modality: str) -> "lancedb.table.Table":
        """The release's gallery of a modality, as a LanceDB table to read from."""
        import lancedb  # slow to import; searches do not need it

        name, tag = self.release.gallery(modality), self.release.tag
        self.gallery_dataset(modality)  # raises a typed error if it cannot be opened
        with damage.detected(self.tables.uri(name), tag):
            options = self.tables.storage_options
            database = lancedb.connect(self.tables.root, storage_options=options)
            table = database.open_table(name)
            table.checkout(tag)
        return table

    def gallery_dataset(self, modality: str) -> lance.LanceDataset:
        """The release's gallery of a modality, as a Lance dataset."""
        return self.open_gallery(modality).table

    def open_gallery(self, modality: str) -> OpenGallery:
        """The release's gallery of a modality, with its index."""
        if modality not in self._galleries:
            table = self.tables.open(self.release.gallery(modality), self.release.tag)
            index = self.release.indexes.get(modality, GalleryIndex())
            self._galleries[modality] = OpenGallery(table, modality, index)
        return self._galleries[modality]

    def tokens(self, modality: str) -> lance.LanceDataset | None:
        """The token vectors of a modality; None if the release has none."""
        name = tokens_table(self.release.space, modality)
        if name not in self.release.versions:
            return None
        if name not in self._tokens:
            self._tokens[name] = self.tables.open(name, self.release.tag)
        return self._tokens[name]

    def open_moments(self, modality: str) -> OpenGallery | None:
        """The moments of a modality, with their index; None if the release has none."""
        name = moments_table(self.release.space, modality)
        if name not in self.release.versions:
            return None
        if name not in self._moments:
            table = self.tables.open(name, self.release.tag)
            index = self.release.indexes.get(moments_index(modality), GalleryIndex())
            self._moments[name] = OpenGallery(table, modality, index)
        return self._moments[name]

    def encode(self, inputs: Mapping[str, Sequence[Any]]) -> dict[str, np.ndarray]:
        """Encode inputs in the release's space, those of one modality in one batch.

        Args:
            inputs: texts, images and recordings by modality.

        Returns:
            Unit vectors (n, d) float32 by modality.

        Raises:
            EncoderError: there is no encoder for the modality, or it is not the release's.
            InputError: an input cannot be used.
        """
        release = self.release
        return self._encode(release.space_config, release.query_fingerprints, inputs)

    def encode_tokens(self, inputs: Mapping[str, Sequence[Any]]) -> dict[str, TokenSets]:
        """Encode inputs as token vectors. Arguments and errors are those of `encode`."""
        release = self.release
        fingerprints = {m: fingerprint(f) for m, f in release.query_fingerprints.items()}
        packed = self._encode(token_space(release.space_config), fingerprints, inputs)
        return {m: unpack(rows) for m, rows in packed.items()}

    def _encode(
        self,
        config: Mapping[str, Any],
        fingerprints: Mapping[str, str],
        inputs: Mapping[str, Sequence[Any]],
    ) -> dict[str, np.ndarray]:
        if self.encoders is None:
            raise EncoderError(
                "this client has no encoders: pass vectors=, or install isotrope[models] and use"
                " isotrope.connect"
            )
        return dict(self.encoders(self.release.space, config, fingerprints, inputs))

    def occurrence(self, gallery: str, query: str) -> tuple[float, float]:
        """Mean and standard deviation of a gallery's k-occurrence among a modality's queries."""
        column = f"occurrence_{query}"
        if (gallery, query) not in self._occurrence:
            counts = self.gallery_dataset(gallery).to_table(columns=[column])[column]
            numbers = pc.drop_null(counts).to_numpy()
            self._occurrence[gallery, query] = (float(numbers.mean()), float(numbers.std()))
        return self._occurrence[gallery, query]

    def reopen_if_moved(self) -> bool:
        """Open the release again if its tables were replaced meanwhile, by a takedown.

        Returns:
            Whether they were.
        """
        current = releases.release_by_number(self.tables, self.release.number)
        if current.versions == self.release.versions:
            return False
        self._clear()
        self.release = current
        return True

    def log(self, vectors: Mapping[str, np.ndarray]) -> None:
        """Log a query's vectors by modality, if there is a query log."""
        if self._query_log is not None:
            self._query_log.add(self.release.space, self.release.query_fingerprints, vectors)

    def close(self) -> None:
        """Write the buffered rows of the query log. Without this call they are written at exit."""
        if self._query_log is not None:
            self._query_log.close()

    def _clear(self) -> None:
        """Forget the release and everything that was read from it."""
        self.__dict__.pop("release", None)
        self.__dict__.pop("banks", None)
        self._galleries.clear()
        self._tokens.clear()
        self._moments.clear()
        self._others.clear()
        self.prepared.clear()
        self.token_corrections.clear()
        self.best_scores.clear()
        self._occurrence.clear()
