"""isotrope: curates and embeds image-text-audio corpora, and searches them without hubs.

    import isotrope

    corpus = isotrope.connect("data/stamps")
    corpus.search(text="a striped cat").among("image").limit(10).to_pandas()

`fit`, `select` and `evaluate` are the hubness corrections on plain arrays, and `CorrectedNeighbors`
is their scikit-learn estimator. They need numpy and threadpoolctl alone; `connect` needs the extra
`client`, the estimator the extra `sklearn`.
"""

import atexit
import os
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

_ROOT = Path(__file__).resolve().parent


def _check_packages() -> None:
    """Check that Python finds isotrope's own packages: names like `store` are common."""
    for name in ("store", "embedders", "pipelines", "assets", "orchestration"):
        try:
            file = import_module(name).__file__
        except ImportError:
            file = None
        if file is None or Path(file).resolve().parent.parent != _ROOT:
            raise ImportError(
                f"isotrope needs its own package {name!r}, but Python finds {file}: rename the"
                f" other package, or put {_ROOT} before it on the import path"
            )


_check_packages()

from store import errors
from store.corrections import evaluate, fit
from store.corrections.select import select
from store.errors import EncoderError, InputError, MissingPackageError, NotFoundError

if TYPE_CHECKING:
    import numpy as np

    from store.corrections.neighbors import CorrectedNeighbors
    from store.search.asynchronous import AsyncCorpus
    from store.search.compound_query import all_of, any_of, none_of
    from store.search.corpus import Corpus
    from store.search.remote import RemoteCorpus
    from store.search.remote_async import AsyncRemoteCorpus
    from store.search.subset import ExportResult
    from store.tables.lance_tables import Tables
    from store.workspace import Workspace

__version__ = "0.1.0"
__all__ = [
    "Corpus",
    "CorrectedNeighbors",
    "all_of",
    "any_of",
    "connect",
    "connect_async",
    "errors",
    "evaluate",
    "fit",
    "none_of",
    "select",
]

# Public names that need more packages than numpy: their module, and the extra of these packages.
_LAZY = {
    "Corpus": ("store.search.corpus", "client"),
    "CorrectedNeighbors": ("store.corrections.neighbors", "sklearn"),
    "all_of": ("store.search.compound_query", "client"),
    "any_of": ("store.search.compound_query", "client"),
    "none_of": ("store.search.compound_query", "client"),
}


def __getattr__(name: str) -> Any:
    """Import a name of `_LAZY` when it is first used."""
    if name not in _LAZY:
        raise AttributeError(f"module 'isotrope' has no attribute {name!r}")
    module, extra = _LAZY[name]
    return getattr(_import(module, extra), name)


def _import(module: str, extra: str) -> Any:
    """Import one of isotrope's modules. Raises MissingPackageError if it needs an extra."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise MissingPackageError(
            f"{module} needs the package {error.name}, which is not installed:"
            f" pip install 'isotrope[{extra}]'"
        ) from error


def connect(
    path: str | os.PathLike[str],
    *,
    space: str | None = None,
    release: int | None = None,
    api_key: str | None = None,
) -> "Corpus | RemoteCorpus":
    """Open a corpus for search. Default: its newest release.

    Args:
        path: the folder of a corpus.yaml, the address of the tables (a folder, s3://...), or the
            address of a server (http://...; `isotrope serve`).
        space: open the newest release of this space. None: of the main space of corpus.yaml; for
            tables without corpus.yaml, the newest release of all.
        release: open the release with this number.
        api_key: of the server. Default: the environment variable ISOTROPE_API_KEY.

    Raises:
        NotFoundError: there is no corpus at `path`.
        ConfigError: its corpus.yaml is not valid.
        InputError: both `space` and `release` are given.
        MissingPackageError: the packages of the extra `client` are not installed.
    """
    if _is_server(path):
        remote = _import("store.search.remote", "client")
        return remote.RemoteCorpus(*_server(path, api_key), space=space, number=release)
    return open_corpus(path, space, release)


def connect_async(
    path: str | os.PathLike[str],
    *,
    space: str | None = None,
    release: int | None = None,
    api_key: str | None = None,
) -> "AsyncCorpus | AsyncRemoteCorpus":
    """Open a corpus for asyncio: `await corpus.search(...).to_list()`.

    The arguments and errors are those of `connect`. Nothing is awaited here: a server is contacted
    by the first search.
    """
    if _is_server(path):
        remote = _import("store.search.remote_async", "client")
        return remote.AsyncRemoteCorpus(*_server(path, api_key), space=space, number=release)
    asynchronous = _import("store.search.asynchronous", "client")
    return asynchronous.AsyncCorpus(open_corpus(path, space, release))


def _is_server(path: str | os.PathLike[str]) -> bool:
    return os.fspath(path).startswith(("http://", "https://"))


def _server(path: str | os.PathLike[str], api_key: str | None) -> tuple[str, str | None]:
    """The address of a server, and the key to send to it."""
    return os.fspath(path), api_key or os.environ.get("ISOTROPE_API_KEY")


def open_corpus(
    path: str | os.PathLike[str], space: str | None = None, release: int | None = None
) -> "Corpus":
    """Open a corpus by its path. See `connect`."""
    if space is not None and release is not None:
        raise InputError("give space= or release=, not both: a release has one space")
    Corpus = _import("store.search.corpus", "client").Corpus
    from store.search.query_log import QueryLog
    from store.tables.files import absolute
    from store.tables.lance_tables import Tables
    from store.workspace import Workspace

    opened = partial(Corpus, space=space, number=release)
    address = os.fspath(path)
    if "://" in address:
        tables = Tables(address)
        return opened(tables, partial(_encode, tables))
    if (Path(address) / "corpus.yaml").is_file():
        workspace = Workspace.open(address)
        settings, tables = workspace.config.query_log, workspace.tables
        query_log = QueryLog(tables, settings) if settings else None
        main_space = workspace.config.space
        corpus = opened(tables, partial(_encode, tables), query_log, main_space=main_space)
        corpus.exporter = partial(_export, workspace)
        return corpus
    tables = Tables(absolute(address))
    if not tables.exists("releases"):
        raise NotFoundError(
            f"{address} holds neither corpus.yaml nor tables; `isotrope init {address} --from"
            " SOURCE` creates a corpus"
        )
    return opened(tables, partial(_encode, tables))


def _encode(
    tables: "Tables",
    space_name: str,
    space_config: Mapping[str, Any],
    fingerprints: Mapping[str, str],
    inputs: Mapping[str, Sequence[Any]],
) -> "dict[str, np.ndarray]":
    """Encode inputs with the encoders of a release. See `store.search.opened.Encode`.

    Imports and loads the encoders at the first call.

    Args:
        tables: beside which the projections are stored.
        space_name: of the release.
        space_config: of the release.
        fingerprints: of the release's encoders of queries, by modality.
        inputs: by modality.

    Raises:
        EncoderError: an installed encoder is not the one that made the release.
    """
    from embedders.corpus_space import open_stored_space
    from embedders.spaces import encode_inputs

    space = open_stored_space(tables, space_name, space_config)
    for modality in inputs:
        if modality not in space.towers:
            continue
        installed, expected = space.query_fingerprint(modality), fingerprints.get(modality)
        if installed != expected:
            raise EncoderError(
                f"the release's {modality} vectors were made by {expected}, but the installed"
                f" encoder is {installed}: `isotrope run` makes them again"
            )
    return encode_inputs(space, inputs)


def _export(
    workspace: "Workspace",
    ids: list[str],
    to: str,
    folder: str | Path,
    *,
    overwrite: bool,
    **options: bool,
) -> "ExportResult":
    """Write samples into a folder. See `store.search.subset.Subset.export`."""
    stage = _import("pipelines.export.stage", "pipelines")
    return stage.export(workspace, folder, stage.Options(to, **options), overwrite, ids)


def _main() -> None:
    """The program `isotrope`."""
    try:
        module = _import("orchestration.cli.main", "client")
    except MissingPackageError as error:
        raise SystemExit(f"error: {error}") from None
    # The first function that is registered is called last, when all output has been written.
    atexit.register(_discard_errors)
    module.main()


def _discard_errors() -> None:
    """Close stderr: DuckDB's binding prints a page about its own objects as the process ends."""
    sys.stderr.flush()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
