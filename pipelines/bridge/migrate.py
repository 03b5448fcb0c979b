"""Embeds the items of a released space in a newer space, some of them at a time.

Until all items have a vector of the newer encoder, queries search the older space by the bridge.
Old and new items are never in one gallery: docs/retrieval.md has the figures. The vectors are in
the table that the stage `vectors` fills by difference, so that once the newer space stands under
`spaces:` of corpus.yaml, a run embeds only what is left.
"""

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from embedders.corpus_space import query_space
from embedders.registry import load_encoder
from pipelines.engine.part_vectors import Failures, encode_missing
from store.errors import InputError
from store.tables import schema
from store.tables.lance_tables import Tables, quote
from store.tables.names import vectors_table
from store.tables.releases import Release, latest_release
from store.workspace import Workspace


@dataclass(frozen=True)
class Migrated:
    """What a run did with the items of one modality.

    Attributes:
        made: how many of them got a vector.
        failed: how many could not be encoded: they are tried again each time.
        left: how many have no vector yet, the failed ones among them.
        error: of the first one that failed; empty if none did.
    """

    made: int
    failed: int
    left: int
    error: str


def migrate(workspace: Workspace, new: str, most: int) -> dict[str, Migrated]:
    """Embed up to `most` more items of each modality of the main space's newest release.

    Items of the drops with the last names come first. A run that is stopped has stored what it made
    so far, in commits of some thousand vectors.

    Args:
        workspace: the corpus.
        new: the name of a space under `query_spaces:` of corpus.yaml.
        most: from 1.

    Returns:
        By modality that both spaces have.

    Raises:
        InputError: a run embeds this space already, because it stands under `spaces:`.
        NotFoundError: corpus.yaml has no such space, or there is no release.
        EncoderError: an encoder cannot be loaded, or the cluster has no room for it.
        InvariantError: a vector is not of unit length.
    """
    config = workspace.config
    if new in config.spaces:
        raise InputError(
            f"{new!r} stands under `spaces:`, so `isotrope run` embeds all of it; some items at a"
            " time are embedded for a space under `query_spaces:`"
        )
    space, _ = query_space(workspace, new)
    release = latest_release(workspace.tables, config.space)
    return {
        modality: _migrate(workspace, release, modality, new, space.towers[modality], most)
        for modality in release.modalities
        if modality in space.towers
    }


def _migrate(
    workspace: Workspace, release: Release, modality: str, new: str, spec: str, most: int
) -> Migrated:
    tables, encoder, name = workspace.tables, load_encoder(spec), vectors_table(new)
    columns = schema.vectors(encoder.dim, workspace.config.vectors)
    pending = _pending(tables, release, modality, name, encoder.fingerprint)
    failed, start, wanted = Failures(), 0, most
    while wanted and start < len(pending):  # parts that fail do not stop those behind them
        parts = pending.slice(start, wanted).to_pylist()
        failures = encode_missing(workspace, name, columns, modality, spec, set(parts))
        failed += failures
        start, wanted = start + len(parts), len(failures)
    left = len(_pending(tables, release, modality, name, encoder.fingerprint))
    error = f"{failed[0][1].rule}: {failed[0][1].error}" if failed else ""
    return Migrated(len(pending) - left, len(failed), left, error)


def _pending(
    tables: Tables, release: Release, modality: str, name: str, fingerprint: str
) -> pa.ChunkedArray:
    """The items of a gallery that have no vector of an encoder, in the order of their drops."""
    gallery = tables.open(release.gallery(modality), version=release.tag)
    items = gallery.to_table(columns=["part_id", "drops"])
    items = items.set_column(1, "drop", pc.list_element(items["drops"], 0))
    if (stored := tables.open_or_none(name)) is not None:
        where = f"encoder = {quote(fingerprint)} AND modality = {quote(modality)}"
        known = stored.to_table(columns=["part_id"], filter=where)["part_id"].combine_chunks()
        items = items.filter(pc.invert(pc.is_in(items["part_id"], value_set=known)))
    return items.sort_by([("drop", "descending"), ("part_id", "ascending")])["part_id"]
