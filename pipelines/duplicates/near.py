"""Find the near-duplicates of every kind that corpus.yaml turns on, as pairs of nodes.

A node is what is compared: a distinct image, recording or text (for `semantic`, its vector), named
by its part id. The searches run on the driver, in numpy, in blocks of bounded size. In memory are
hashes of 512 bytes, fingerprints, signatures of 256 bytes and, for `semantic`, the vectors.
"""

from collections.abc import Callable, Iterator
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.duplicates import audio, incremental, semantic
from pipelines.duplicates.evaluation_sets import QUALITY
from pipelines.duplicates.images import copies, crops
from pipelines.duplicates.pair_joins import Pairs
from pipelines.duplicates.sample_facts import PARTS
from pipelines.duplicates.survivors import NearPairs
from pipelines.duplicates.texts import minhash
from pipelines.signals.scorers.image_copies import CROPS, LOOK
from pipelines.signals.scorers.image_local import FEATURES
from pipelines.stages.context import StageContext
from store import identity
from store.arrow import as_matrix
from store.tables.lance_tables import Tables
from store.tables.names import vectors_table
from store.tables.signals import VIEW
from store.tables.table_version import TableVersion, take_rows

VERSION = 3  # of the searches: raise it if the same samples would give other pairs


def find_near(context: StageContext, samples: pa.Table) -> list[NearPairs]:
    """The near pairs of each kind that is on.

    Args:
        samples: as `sample_facts` returns them.
    """
    settings, tables = context.config.duplicates, context.tables
    results = []
    compared = {part: _is_compared(samples, part, settings.parts == "first") for part in PARTS}
    if settings.image is not None:
        trusted = pc.greater_equal(samples["image_pdq_quality"], QUALITY)
        mask = pc.and_(compared["image"], trusted)
        results.append(_image(tables, samples, mask, settings.image))
    if settings.crops is not None:
        results.append(_crops(tables, samples, compared["image"], settings.crops))
    if settings.audio is not None:
        mask = pc.and_(compared["audio"], pc.is_valid(samples["audio_fingerprint"]))
        results.append(_audio(tables, samples, mask, settings.audio))
    if settings.text is not None:
        results.append(_text(tables, samples, compared["text"], settings.text))
    if settings.semantic is not None:
        results += _semantic(context, samples, compared, settings.semantic)
    return results


def _is_compared(samples: pa.Table, part: str, first_only: bool) -> pa.ChunkedArray:
    """Which samples are compared by a part: all that have it, or those whose first part it is."""
    mask = pc.is_valid(samples[f"{part}_id"])
    for earlier in PARTS[: PARTS.index(part)] if first_only else ():
        mask = pc.and_(mask, pc.is_null(samples[f"{earlier}_id"]))
    return mask


def _image(tables: Tables, samples: pa.Table, mask: pa.ChunkedArray, radius: int) -> NearPairs:
    rows = _rows(mask)
    names = samples["image_id"].take(rows).combine_chunks()

    def find(nodes: pa.Array, first: int) -> Pairs:
        images = Images(tables, samples, rows.take(pc.index_in(nodes, value_set=names)))
        return copies.pairs(images.hashes, images.thumbnails, radius, first)

    return _near(tables, samples, "image", "image", names, rows, (radius, QUALITY), find)


def _crops(tables: Tables, samples: pa.Table, mask: pa.ChunkedArray, same: float) -> NearPairs:
    rows = _rows(mask)
    names = samples["image_id"].take(rows).combine_chunks()

    def find(nodes: pa.Array, first: int) -> Pairs:
        images = Images(tables, samples, rows.take(pc.index_in(nodes, value_set=names)))
        order = pc.rank(nodes, tiebreaker="first").to_numpy().astype(np.int64)
        return crops.pairs(order, images.features, images.views, same, first)

    return _near(tables, samples, "crops", "image", names, rows, same, find)


def _audio(tables: Tables, samples: pa.Table, mask: pa.ChunkedArray, threshold: float) -> NearPairs:
    rows = _rows(mask)
    names = samples["audio_id"].take(rows).combine_chunks()
    fingerprints = samples["audio_fingerprint"]

    def find(nodes: pa.Array, first: int) -> Pairs:
        node_rows = rows.take(pc.index_in(nodes, value_set=names))
        return audio.pairs(fingerprints.take(node_rows).to_pylist(), threshold, first)

    return _near(tables, samples, "audio", "audio", names, rows, threshold, find)


def _text(tables: Tables, samples: pa.Table, mask: pa.ChunkedArray, threshold: float) -> NearPairs:
    rows = _rows(mask)
    names = samples["text_id"].take(rows).combine_chunks()

    def find(nodes: pa.Array, first: int) -> Pairs:
        texts = Texts(tables, samples, rows.take(pc.index_in(nodes, value_set=names)))
        incremental.forget_signatures(tables, nodes)
        signatures = incremental.signatures(tables, nodes, lambda new: _sign(texts, new))
        return minhash.pairs(signatures, texts, threshold, first)

    return _near(tables, samples, "text", "text", names, rows, threshold, find)


def _semantic(
    context: StageContext, samples: pa.Table, compared: dict[str, pa.ChunkedArray], threshold: float
) -> Iterator[NearPairs]:
    space, tables = context.space, context.tables
    table = vectors_table(space.name)
    for part in sorted(space.towers):
        fingerprint = context.fingerprints[part]
        vectors = tables.open(table).to_table(columns=["part_id", "encoder"], with_row_id=True)
        vectors = vectors.filter(pc.equal(vectors["encoder"], fingerprint))
        embedded, row_ids = vectors["part_id"].combine_chunks(), vectors["_rowid"].combine_chunks()
        has_vector = pc.is_in(samples[f"{part}_id"], value_set=embedded)
        rows = _rows(pc.and_(compared[part], has_vector))
        names = samples[f"{part}_id"].take(rows).combine_chunks()

        def find(
            nodes: pa.Array, first: int, embedded: pa.Array = embedded, row_ids: pa.Array = row_ids
        ) -> Pairs:
            node_rows = row_ids.take(pc.index_in(nodes, value_set=embedded)).to_pylist()
            matrix = as_matrix(take_rows(tables.open(table), node_rows, ["vector"])["vector"])
            return semantic.pairs(matrix, threshold, first)

        settings = threshold, space.name, fingerprint
        near = _near(tables, samples, f"semantic:{part}", part, names, rows, settings, find)
        yield NearPairs("semantic", near.nodes, near.parts, near.pairs)


def _near(
    tables: Tables,
    samples: pa.Table,
    kind: str,
    part: str,
    names: pa.Array,
    rows: pa.Array,
    settings: object,
    find: Callable[[pa.Array, int], Pairs],
) -> NearPairs:
    """The near pairs of one kind, comparing new nodes only.

    Args:
        rows: (k,) the samples that are compared.
        names: (k,) the names of their nodes.
        settings: what the pairs depend on beside the nodes.
        find: compares distinct nodes; see `incremental.Find`.
    """

    def find_names(nodes: pa.Array, first: int) -> tuple[pa.Array, pa.Array, np.ndarray]:
        pairs = find(nodes, first)
        return nodes.take(pa.array(pairs.a)), nodes.take(pa.array(pairs.b)), pairs.similarity

    nodes = pc.unique(names).sort()
    key = identity.run_key(kind, VERSION, settings)
    table = incremental.near_pairs(tables, kind, key, nodes, find_names)
    a, b = (pc.index_in(table[c], value_set=nodes).to_numpy().astype(np.int64) for c in "ab")
    pairs = Pairs(a, b, table["similarity"].to_numpy())
    node = np.full(samples.num_rows, -1)
    node[rows.to_numpy()] = pc.index_in(names, value_set=nodes).to_numpy()
    part_numbers = samples[f"{part}_id"].combine_chunks().dictionary_encode().indices
    return NearPairs(kind, node, pc.fill_null(part_numbers, -1).to_numpy(), pairs)


class Images:
    """What the searches for copies compare of images; all but hashes are read on demand.

    An image that could not be measured has no features, and black pixels.
    """

    def __init__(self, tables: Tables, samples: pa.Table, rows: pa.Array):
        """Args: `rows`: (n,) rows of `samples`, which is as `sample_facts` returns it."""
        self._hashes = samples["image_copies"].take(rows)
        self._signal_rows = samples["measured"].take(rows).to_numpy()
        self._signals = TableVersion(tables, "signals", tables.version("signals"))

    @cached_property
    def hashes(self) -> np.ndarray:
        """(n, crops, 32) uint8 of all images, the signal `image_copies`; none may be null."""
        column = self._hashes.combine_chunks()
        return incremental.binary_matrix(column, np.uint8).reshape(len(column), CROPS, -1)

    def thumbnails(self, indices: np.ndarray) -> np.ndarray:
        """(k, 32, 32, 3) uint8, the signal `image_look`."""
        return self._read("image_look", indices).reshape(-1, LOOK, LOOK, 3)

    def features(self, indices: np.ndarray) -> np.ndarray:
        """(k,) records of `FEATURES`, the signal `image_keypoints`."""
        return self._read("image_keypoints", indices).view(FEATURES)[:, 0]

    def views(self, indices: np.ndarray) -> np.ndarray:
        """(k, 64, 64, 3) uint8, the signal `image_view`."""
        return self._read("image_view", indices).reshape(-1, VIEW, VIEW, 3)

    def _read(self, name: str, indices: np.ndarray) -> np.ndarray:
        distinct, inverse = np.unique(indices, return_inverse=True)
        row_ids = self._signal_rows[distinct].tolist()
        column = take_rows(self._signals, row_ids, [name])[name].combine_chunks()
        column = pc.fill_null(column, bytes(column.type.byte_width))
        return incremental.binary_matrix(column, np.uint8)[inverse]


class Texts:
    """The texts of samples, read on demand: `texts(indices)` gives those of (k,) indices."""

    def __init__(self, tables: Tables, samples: pa.Table, rows: pa.Array):
        """Args: `rows`: (n,) rows of `samples`, which is as `sample_facts` returns it."""
        self._row_ids = samples["row"].take(rows).to_numpy()
        self._samples = TableVersion(tables, "samples", tables.version("samples"))

    def __call__(self, indices: np.ndarray) -> list[str]:
        ids = self._row_ids[indices].tolist()
        return take_rows(self._samples, ids, ["text"])["text"].to_pylist() if ids else []


def _sign(texts: Texts, new: np.ndarray) -> np.ndarray:
    blocks = [minhash.signatures(texts(new[i : i + 65_536])) for i in range(0, len(new), 65_536)]
    return np.concatenate([np.empty((0, minhash.HASHES), np.uint16), *blocks])


def _rows(mask: pa.ChunkedArray) -> pa.Array:
    return pa.array(np.flatnonzero(pc.fill_null(mask, False).to_numpy()))
