"""isotrope: curated, embedded image-text-audio corpora, searched in a space without hubs.

    import isotrope

    corpus = isotrope.connect("data/stamps")
    corpus.search(text="a striped cat").among("image").limit(10).to_pandas()

`fit`, `select` and `evaluate` are the mathematics of corrections on plain arrays.
"""

import os
from collections.abc import Mapping
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

_HERE = Path(__file__).resolve().parent


def _check_not_shadowed() -> None:
    """`store` and the like are common names: make sure that ours are the ones Python finds."""
    for name in ("store", "embedders", "pipelines", "assets", "orchestration"):
        try:
            found = import_module(name).__file__
        except ImportError:
            found = None
        if found is None or Path(found).resolve().parent.parent != _HERE:
            raise ImportError(
                f"isotrope needs its own package {name!r}, but Python finds {found}: rename that"
                f" one, or put {_HERE} before it on the import path"
            )


_check_not_shadowed()

from store import errors
from store.corrections import evaluate, fit
from store.corrections.select import select
from store.errors import EncoderError, InputError, NotFoundError
from store.search.corpus import Corpus
from store.search.query_log import QueryLog
from store.tables.lance_tables import Tables
from store.workspace import Workspace

if TYPE_CHECKING:
    import numpy as np

__version__ = "0.1.0"
__all__ = ["Corpus", "connect", "errors", "evaluate", "fit", "select"]


def connect(
    path: str | os.PathLike[str], *, space: str | None = None, release: int | None = None
) -> Corpus:
    """Open a corpus to search it, at its newest release.

    Args:
        path: the folder of a corpus.yaml, or the address of its tables (a folder, s3://...).
        space: the newest release of this space, where the corpus has been embedded in several.
        release: the release of this number.

    Raises:
        NotFoundError: there is no corpus at `path`.
        ConfigError: its corpus.yaml is not valid.
        InputError: both a space and a release are named.
    """
    if space is not None and release is not None:
        raise InputError("name a space or a release: a release is of one space")
    open_at = partial(Corpus, space=space, number=release)
    address = os.fspath(path)
    if address.startswith(("http://", "https://")):
        raise NotFoundError(f"{address}: there is no server to connect to yet; give a path")
    if "://" in address:
        return open_at(Tables(address), partial(_encode, address))
    if (Path(address) / "corpus.yaml").is_file():
        workspace = Workspace.open(address)
        settings, tables = workspace.config.query_log, workspace.tables
        logged = QueryLog(tables, settings) if settings and tables.is_local else None
        return open_at(tables, partial(_encode, tables.root), logged)
    tables = Tables(Path(address).expanduser().resolve())
    if not tables.exists("releases"):
        raise NotFoundError(
            f"{address} holds neither corpus.yaml nor tables; `isotrope init {address} --from"
            " SOURCE` begins a corpus"
        )
    return open_at(tables, partial(_encode, tables.root))


def _encode(
    root: str,
    space_name: str,
    space_config: Mapping[str, Any],
    fingerprints: Mapping[str, str],
    inputs: Mapping[str, Any],
) -> "dict[str, np.ndarray]":
    """Inputs to vectors with the encoders that the release was made with, loaded when needed."""
    from embedders.spaces import encode_query, open_space

    space = open_space(space_name, space_config, root)
    for modality in inputs:
        if modality not in space.towers:
            continue
        here, there = space.fingerprint(modality), fingerprints.get(modality)
        if here != there:
            raise EncoderError(
                f"the release's {modality} vectors were made by {there}, this installation has"
                f" {here}: `isotrope run` embeds anew"
            )
    return encode_query(space, inputs)
