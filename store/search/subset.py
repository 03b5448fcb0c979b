"""The samples of a query's result: streamed, or exported as files for other programs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from store.errors import InputError
from store.search.query import Query
from store.search.result import Result


@dataclass(frozen=True)
class ExportResult:
    """What the folder holds after an export."""

    folder: str
    samples: int
    shards: int
    bytes: int


class Source(Protocol):
    """Where the samples of a subset are: a corpus."""

    def run(self, query: Query) -> Result: ...

    def samples(self, ids: Sequence[str]) -> Iterator[pa.Table]: ...


class Exporter(Protocol):
    """Writes samples of a corpus into a folder. `isotrope.connect` makes it."""

    def __call__(
        self,
        ids: list[str],
        to: str,
        folder: str | Path,
        *,
        signals: bool,
        mask: bool,
        overwrite: bool,
    ) -> ExportResult: ...


class Subset:
    """The samples that a query finds. `Corpus.subset` makes it; the query runs once.

    Args:
        corpus: that the query searches.
        query: whose rows name the samples.
        exporter: writes the samples. None: the corpus was not opened by its folder.
    """

    def __init__(self, corpus: Source, query: Query, exporter: Exporter | None):
        self._corpus = corpus
        self._query = query
        self._exporter = exporter

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._query})"

    @cached_property
    def ids(self) -> list[str]:
        """The ids of the samples, in the order of the result."""
        return sample_ids(self._corpus.run(self._query))

    def samples(self) -> Iterator[pa.Table]:
        """Stream the samples. See `Corpus.samples`."""
        return self._corpus.samples(self.ids)

    def export(
        self,
        to: str,
        folder: str | Path,
        *,
        signals: bool = False,
        mask: bool = False,
        overwrite: bool = False,
    ) -> ExportResult:
        """Write the samples into a folder, as `isotrope export` writes all kept samples.

        Args:
            to: webdataset, parquet or lance.
            folder: a new folder, or one with an interrupted export of the same samples.
            signals: whether all signals are exported too.
            mask: whether URLs, e-mail addresses and telephone numbers in captions are masked.
            overwrite: remove another export that is in the folder.

        Raises:
            InputError: the corpus was not opened by its folder, the format is unknown, or the
                folder holds other files.
            NotFoundError: the present decisions do not keep one of the samples.
            MissingPackageError: the packages of the extra `pipelines` are not installed.
        """
        exporter = checked(self._exporter)
        return exporter(self.ids, to, folder, signals=signals, mask=mask, overwrite=overwrite)


def sample_ids(result: Result) -> list[str]:
    """The ids of the samples of a result, each once, in its order."""
    return list(dict.fromkeys(result.rows["id"].to_pylist()))


def checked(exporter: Exporter | None) -> Exporter:
    """The exporter. Raises InputError if there is none."""
    if exporter is None:
        raise InputError(
            "an export needs the settings of the corpus: connect to the folder of corpus.yaml"
        )
    return exporter
