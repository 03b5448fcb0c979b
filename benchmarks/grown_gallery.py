"""A gallery with real hubs and of any size: grown from paired features, corrected and indexed.

Images and captions are mixtures of two pairs of a file with noise, so that the gallery keeps the
gap between the modalities. The correction `nnn` is compiled into its vectors. Each image has a
caption of eight words with Zipf's frequencies, which share a topic where the vectors do.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipelines.index.build import index_gallery
from store.arrow import vector_column
from store.config.index import Index
from store.corrections import Correction, fit
from store.search.vector_layout import BIAS_SCALE, fold
from store.tables import releases, schema
from store.tables.banks import Banks
from store.tables.direction import Direction
from store.tables.lance_tables import Tables
from store.tables.names import gallery_table
from store.tables.releases import Release

SPACE, TOP, BANK, NOISE = "grown", 10, 2_000, 0.35
GALLERY = gallery_table(SPACE, "image")
_ROWS = 10_000  # that are grown and written at once
_WORDS, _TOPIC_WORDS, _CAPTION_WORDS = 20_000, 3, 8


def grow(path: Path, rows: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images and captions (rows, d), unit length, and the pair (rows,) that each is mostly of."""
    images, texts = (unit(x.astype(np.float32)) for x in np.load(path))
    rng = np.random.default_rng(seed)
    first, second = rng.integers(0, len(images), (2, rows))
    share = rng.uniform(0.55, 1, (rows, 1)).astype(np.float32)
    noise = NOISE / np.sqrt(images.shape[1])
    grown = []
    for x in (images, texts):
        out = share * x[first] + (1 - share) * x[second]
        for start in range(0, rows, _ROWS):
            block = out[start : start + _ROWS]
            block += noise * rng.standard_normal(block.shape, dtype=np.float32)
        grown.append(unit(out))
    return grown[0], grown[1], first


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def captions(topics: np.ndarray, seed: int) -> pa.Array:
    """A caption for each topic (n,): some words of the topic, the others by Zipf's law."""
    rng = np.random.default_rng(seed)
    shape = len(topics), _CAPTION_WORDS - _TOPIC_WORDS
    common = np.minimum(rng.zipf(1.3, shape), _WORDS)
    own = topics[:, None] * _TOPIC_WORDS + np.arange(_TOPIC_WORDS)
    texts = (
        " ".join([*(f"topic{n}" for n in a), *(f"word{n}" for n in b)])
        for a, b in zip(own.tolist(), common.tolist(), strict=True)
    )
    return pa.array(texts, pa.large_string())


@dataclass(frozen=True)
class Grown:
    """A release with one grown gallery.

    Attributes:
        release: with the index of the gallery.
        direction: text to image.
        queries: (n, d) captions that are in neither bank nor gallery.
        topics: (n,) of the queries.
        exact: (n, 10) the best rows of each query by an exact search, "raw" and "corrected".
    """

    release: Release
    direction: Direction
    queries: np.ndarray
    topics: np.ndarray
    exact: dict[str, np.ndarray]


def make_release(
    folder: str, pairs: Path, rows: int, queries: int, index_type: str = "ivf_rq"
) -> Grown:
    """Publish a release in a folder, or read what is there already.

    Args:
        folder: of the tables.
        pairs: a file (2, n, d) of images and captions.
        rows: of the gallery.
        queries: how many to make.
        index_type: see `index.type` of corpus.yaml.
    """
    _, texts, topics = grow(pairs, queries, 2)
    tables, kept = Tables(folder), Path(folder) / "exact.npz"
    if not kept.is_file():
        exact = _publish(tables, pairs, rows, texts, index_type)
        np.savez(kept, **exact)
    release = releases.latest_release(tables)
    direction = release.directions["text->image"]
    return Grown(release, direction, texts, topics, dict(np.load(kept)))


def bank_of(texts: np.ndarray) -> Banks:
    """The query bank of texts."""
    wanted = schema.banks(texts.shape[1])
    names = pa.array([str(n) for n in range(len(texts))])
    constant = {"split": "bank", "modality": "text"}
    columns = {f.name: names for f in wanted}
    columns |= {name: pa.array([value] * len(texts)) for name, value in constant.items()}
    columns["vector"] = vector_column(texts)
    return Banks(pa.table([columns[f.name] for f in wanted], schema=wanted))


def _publish(
    tables: Tables, pairs: Path, rows: int, queries: np.ndarray, index_type: str
) -> dict[str, np.ndarray]:
    items, _, topics = grow(pairs, rows, 0)
    bank_items, bank_texts, _ = grow(pairs, BANK, 1)
    c = fit("nnn", gallery=items, query_bank=bank_texts, gallery_bank=bank_items)
    centre = float(c.bias.mean())
    direction = Direction(
        "text", "image", c.method, c.params, "", 0, centre=centre, scale=BIAS_SCALE
    )
    directions = {direction.name: direction}
    _write_gallery(tables, c, direction, topics)
    index = index_gallery(
        tables, GALLERY, "image", directions, bank_of(bank_texts), Index(type=index_type)
    )
    releases.publish(
        tables,
        space=SPACE,
        space_config={},
        dim=items.shape[1],
        fingerprints={},
        banks={},
        versions={GALLERY: tables.version(GALLERY)},
        directions=directions,
        evaluation={},
        policy="",
        indexes={"image": index},
    )
    raw = queries @ items.T
    return {"raw": _best(raw), "corrected": _best(raw - c.bias)}


def _best(scores: np.ndarray) -> np.ndarray:
    """The columns (n, 10) of the best scores (n, rows), best first."""
    best = np.argpartition(-scores, TOP, axis=1)[:, :TOP]
    order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1)
    return np.take_along_axis(best, order, axis=1)


def _write_gallery(
    tables: Tables, correction: Correction, direction: Direction, topics: np.ndarray
) -> None:
    """The columns of a gallery that a search reads, with the correction compiled into them."""
    wanted = schema.gallery(correction.vectors.shape[1])

    def batch(start: int) -> pa.RecordBatch:
        part = slice(start, start + _ROWS)
        vectors, bias = correction.vectors[part], correction.bias[part]
        rows = len(bias)
        names = pa.array([f"{n:032x}" for n in range(start, start + rows)])
        folded = fold(vectors, {"text": bias}, {"text": direction})
        columns = {
            "vector": vector_column(folded),
            "bias_text": pa.array(bias),
            "caption": captions(topics[part], start),
            **dict.fromkeys(("part_id", "id", "cluster", "key"), names),
            **dict.fromkeys(("sample_ids", "drops"), pa.array([[]] * rows, pa.list_(pa.string()))),
            **{f"bias_{m}": pa.array(np.zeros(rows, np.float32)) for m in ("image", "audio")},
            **{f"hub_{m}": pa.array(np.zeros(rows, bool)) for m in schema.MODALITIES},
        }
        made = [columns.get(f.name, pa.nulls(rows, f.type)).cast(f.type) for f in wanted]
        return pa.record_batch(made, schema=wanted)

    batches = (batch(start) for start in range(0, len(correction.bias), _ROWS))
    tables.replace(GALLERY, wanted, batches, None)
