"""Near-duplicates of every kind that corpus.yaml asks for, as pairs of what was compared.

Runs on the driver, in numpy, in blocks of bounded size: what is compared are hashes of 512 bytes,
fingerprints, signatures of 256 bytes and, for `semantic`, the vectors.
"""

from collections.abc import Callable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.duplicates import audio, incremental, semantic
from pipelines.duplicates.evaluation_sets import QUALITY
from pipelines.duplicates.images import copies
from pipelines.duplicates.pair_joins import Pairs
from pipelines.duplicates.sample_facts import PARTS
from pipelines.duplicates.survivors import Near
from pipelines.duplicates.texts import minhash
from pipelines.signals.scorers.image_copies import CROPS, LOOK
from pipelines.stages.context import StageContext
from store import identity
from store.arrays import as_matrix
from store.tables.lance_tables import Tables, take
from store.tables.names import vectors_table

VERSION = 3  # of what finds pairs: raise it where the same samples would give others


def near(context: StageContext, samples: pa.Table) -> list[Near]:
    """What is near to what, by kind. Args: `samples` as `facts.facts` gives them."""
    asked, tables = context.config.duplicates, context.tables
    found = []
    mine = {part: _compared(samples, part, asked.parts == "first") for part in PARTS}
    if asked.image is not None:
        here = pc.and_(mine["image"], pc.greater_equal(samples["image_pdq_quality"], QUALITY))
        found.append(_image(tables, samples, here, asked.image))
    if asked.audio is not None:
        here = pc.and_(mine["audio"], pc.is_valid(samples["audio_fingerprint"]))
        found.append(_audio(tables, samples, here, asked.audio))
    if asked.text is not None:
        found.append(_text(tables, samples, mine["text"], asked.text))
    if asked.semantic is not None:
        found += _semantic(context, samples, mine, asked.semantic)
    return found


def _compared(samples: pa.Table, part: str, first: bool) -> pa.ChunkedArray:
    here = pc.is_valid(samples[f"{part}_id"])
    for before in PARTS[: PARTS.index(part)] if first else ():
        here = pc.and_(here, pc.is_null(samples[f"{before}_id"]))
    return here


def _image(tables: Tables, samples: pa.Table, here: pa.ChunkedArray, radius: int) -> Near:
    rows = _rows(here)
    names = samples["image_id"].take(rows).combine_chunks()

    def find(nodes: pa.Array, first: int) -> Pairs:
        pictures = Pictures(tables, samples, rows.take(pc.index_in(nodes, value_set=names)))
        return copies.pairs(pictures.hashes, pictures.looks, radius, first)

    return _near(tables, samples, "image", "image", names, rows, (radius, QUALITY), find)


def _audio(tables: Tables, samples: pa.Table, here: pa.ChunkedArray, threshold: float) -> Near:
    rows = _rows(here)
    names = samples["audio_id"].take(rows).combine_chunks()
    prints = samples["audio_fingerprint"]

    def find(nodes: pa.Array, first: int) -> Pairs:
        place = rows.take(pc.index_in(nodes, value_set=names))
        return audio.pairs(prints.take(place).to_pylist(), threshold, first)

    return _near(tables, samples, "audio", "audio", names, rows, threshold, find)


def _text(tables: Tables, samples: pa.Table, here: pa.ChunkedArray, threshold: float) -> Near:
    rows = _rows(here)
    names = samples["text_id"].take(rows).combine_chunks()

    def find(nodes: pa.Array, first: int) -> Pairs:
        texts = Texts(tables, samples, rows.take(pc.index_in(nodes, value_set=names)))
        incremental.forget_signatures(tables, nodes)
        signed = incremental.signatures(tables, nodes, lambda new: _sign(texts, new))
        return minhash.pairs(signed, texts, threshold, first)

    return _near(tables, samples, "text", "text", names, rows, threshold, find)


def _semantic(
    context: StageContext, samples: pa.Table, mine: dict[str, pa.ChunkedArray], threshold: float
) -> Iterator[Near]:
    space, tables = context.space, context.tables
    table = vectors_table(space.name)
    for part in sorted(space.towers):
        fingerprint = context.fingerprints[part]
        vectors = tables.open(table).to_table(columns=["part_id", "encoder"], with_row_id=True)
        vectors = vectors.filter(pc.equal(vectors["encoder"], fingerprint))
        there, places = vectors["part_id"].combine_chunks(), vectors["_rowid"].combine_chunks()
        rows = _rows(pc.and_(mine[part], pc.is_in(samples[f"{part}_id"], value_set=there)))
        names = samples[f"{part}_id"].take(rows).combine_chunks()

        def find(
            nodes: pa.Array, first: int, there: pa.Array = there, places: pa.Array = places
        ) -> Pairs:
            wanted = places.take(pc.index_in(nodes, value_set=there)).to_pylist()
            uri, version = tables.uri(table), tables.version(table)
            matrix = as_matrix(take(uri, version, wanted, ["vector"])["vector"])
            return semantic.pairs(matrix, threshold, first)

        settings = threshold, space.name, fingerprint
        found = _near(tables, samples, f"semantic:{part}", part, names, rows, settings, find)
        yield Near("semantic", found.nodes, found.parts, found.pairs)


def _near(
    tables: Tables,
    samples: pa.Table,
    kind: str,
    part: str,
    names: pa.Array,
    rows: pa.Array,
    settings: object,
    find: Callable[[pa.Array, int], Pairs],
) -> Near:
    """Args: `names` of the nodes of the samples at `rows`; `find` gets each name once."""

    def named(nodes: pa.Array, first: int) -> tuple[pa.Array, pa.Array, np.ndarray]:
        pairs = find(nodes, first)
        return nodes.take(pa.array(pairs.a)), nodes.take(pa.array(pairs.b)), pairs.similarity

    nodes = pc.unique(names).sort()
    key = identity.run_key(kind, VERSION, settings)
    table = incremental.compare(tables, kind, key, nodes, named)
    a, b = (pc.index_in(table[c], value_set=nodes).to_numpy().astype(np.int64) for c in "ab")
    pairs = Pairs(a, b, table["similarity"].to_numpy())
    node = np.full(samples.num_rows, -1)
    node[rows.to_numpy()] = pc.index_in(names, value_set=nodes).to_numpy()
    ids = samples[f"{part}_id"].combine_chunks().dictionary_encode().indices
    return Near(kind, node, pc.fill_null(ids, -1).to_numpy(), pairs)


class Pictures:
    """What pictures of samples are known by: hashes, and looks that are read when asked for."""

    def __init__(self, tables: Tables, samples: pa.Table, places: pa.Array):
        copied = samples["image_copies"].take(places).combine_chunks()
        self.hashes = incremental.as_rows(copied, np.uint8).reshape(len(places), CROPS, -1)
        self.rows = samples["measured"].take(places).to_numpy()
        self.uri, self.version = tables.uri("signals"), tables.version("signals")

    def looks(self, places: np.ndarray) -> np.ndarray:
        once, place = np.unique(places, return_inverse=True)
        found = take(self.uri, self.version, self.rows[once].tolist(), ["image_look"])
        looks = incremental.as_rows(found["image_look"].combine_chunks(), np.uint8)
        return looks.reshape(-1, LOOK, LOOK, 3)[place]


class Texts:
    """Texts of samples by their places, read when they are asked for."""

    def __init__(self, tables: Tables, samples: pa.Table, places: pa.Array):
        self.rows = samples["row"].take(places).to_numpy()
        self.uri, self.version = tables.uri("samples"), tables.version("samples")

    def __call__(self, places: np.ndarray) -> list[str]:
        wanted = self.rows[places].tolist()
        return take(self.uri, self.version, wanted, ["text"])["text"].to_pylist() if wanted else []


def _sign(texts: Texts, new: np.ndarray) -> np.ndarray:
    blocks = [minhash.signatures(texts(new[i : i + 65_536])) for i in range(0, len(new), 65_536)]
    return np.concatenate([np.empty((0, minhash.HASHES), np.uint16), *blocks])


def _rows(here: pa.ChunkedArray) -> pa.Array:
    kept = pc.fill_null(here, False).to_numpy()
    return pa.array(np.flatnonzero(kept))
