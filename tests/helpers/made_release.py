"""A release whose galleries are written directly, and the dense scores of its items."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

import isotrope
from pipelines.index.build import index_gallery
from store.arrow import vector_column
from store.config.index import Index
from store.corrections import Correction, fit
from store.search.vector_layout import fold
from store.tables import releases, schema, words
from store.tables.banks import Banks
from store.tables.direction import Direction
from store.tables.indexes import GalleryIndex
from store.tables.lance_tables import Tables
from store.tables.part_weights import PartWeights
from tests.helpers.release_tables import bank_rows, write_gallery

DIM, SPACE = 16, "made"
WORDS = ["zebra", "lamp", "river", "stone", "violin", "cloud", "pepper", "train"]
METHODS = {
    "text->image": "nnn",
    "image->image": "invgc_local+nnn",
    "text->text": "dynamic_inverted_softmax",
}


@dataclass(frozen=True, repr=False)
class Gallery:
    """The items of one modality: sample numbers, captions, unit vectors and fitted corrections."""

    samples: np.ndarray
    captions: list[str | None]
    items: np.ndarray
    fitted: dict[str, Correction]

    def scores(
        self, modality: str, query: np.ndarray, admitted: np.ndarray | None = None
    ) -> np.ndarray:
        """The corrected scores of all items for a query of a modality.

        A dynamic correction looks at the best of the items that are admitted (a mask).
        """
        if modality not in self.fitted:
            return self.items @ query
        correction = self.fitted[modality]
        score = correction.vectors @ query
        if correction.flag is not None:
            top = np.argmax(score if admitted is None else np.where(admitted, score, -np.inf))
            if not correction.flag[top]:
                return score
        return score - correction.bias


@dataclass(frozen=True, repr=False)
class MadeRelease:
    """The corpus and what its release was made of."""

    corpus: "isotrope.Corpus"
    galleries: dict[str, Gallery]
    directions: dict[str, Direction]

    def calibrated(
        self, modality: str, gallery: str, query: np.ndarray, admitted: np.ndarray | None = None
    ) -> np.ndarray:
        """The calibrated scores of all items of a gallery."""
        direction = self.directions[f"{modality}->{gallery}"]
        scores = self.galleries[gallery].scores(modality, query, admitted)
        return (scores - direction.zero) / direction.unit


def unit(rng: np.random.Generator, rows: int) -> np.ndarray:
    """Unit rows (rows, DIM) with a common part, so that there are hubs."""
    x = rng.normal(size=(rows, DIM)) + 0.6
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def make_release(
    root: Path,
    rows: int = 400,
    index: Index | None = None,
    first_captions: Sequence[str] = (),
    item_words: bool | None = None,
    more: Mapping[str, pa.Table] | None = None,
    fingerprints: Mapping[str, str] | None = None,
    part_weights: Mapping[str, PartWeights] | None = None,
) -> MadeRelease:
    """Publish galleries of images and texts. Sample n has an image, and a text if n % 3.

    Args:
        root: where the tables are made.
        rows: samples.
        index: of the galleries.
        first_captions: of the first samples, instead of random words.
        item_words: whether the release adopted words of images. None: they have none.
        more: further tables of the release.
        fingerprints: of its encoders.
        part_weights: learned weights of parts.
    """
    rng, tables = np.random.default_rng(5), Tables(root)
    captions = [
        " ".join(rng.choice(WORDS, rng.integers(1, 5))) if n % 3 else None for n in range(rows)
    ]
    captions[: len(first_captions)] = first_captions
    bank = unit(rng, 100)
    banks = dict.fromkeys(("image", "text"), bank)
    directions: dict[str, Direction] = {}
    galleries, versions, indexes = {}, {}, {}
    for modality in ("image", "text"):
        samples = np.array([n for n in range(rows) if modality == "image" or captions[n]])
        items = unit(rng, len(samples))
        fitted = {}
        for query in ("image", "text"):
            name = f"{query}->{modality}"
            if name in METHODS:
                fitted[query] = c = fit(
                    METHODS[name], gallery=items, query_bank=bank, gallery_bank=items[:100]
                )
                made = Direction(query, modality, c.method, c.params, "", 0, 0.2, 0.5)
                made = Direction(**{**vars(made), "centre": float(c.bias.mean())})
            else:
                made = Direction(query, modality, "none", {}, "", 0, 0.1, 0.7)
            if name == "text->image" and item_words:
                made = Direction(**{**vars(made), "words": True})
            directions[name] = made
        own = [captions[n] for n in samples]
        gallery = galleries[modality] = Gallery(samples, own, items, fitted)
        name = f"gallery__{SPACE}__{modality}"
        has_words = item_words is not None and modality == "image"
        _write(tables, name, modality, gallery, directions, has_words)
        searching = {n: d for n, d in directions.items() if d.gallery == modality}
        if index is not None:
            indexes[modality] = index_gallery(
                tables, name, modality, searching, Banks(bank_rows(banks, DIM)), index
            )
        versions[name] = tables.open(name).version
    name = f"banks__{SPACE}"
    tables.replace(name, schema.banks(DIM), bank_rows(banks, DIM).to_batches(), "false")
    versions[name] = tables.open(name).version
    for name, rows_of in (more or {}).items():
        tables.replace(name, rows_of.schema, rows_of.to_batches(), "false")
        versions[name] = tables.open(name).version
    releases.publish(
        tables,
        space=SPACE,
        space_config={},
        dim=DIM,
        fingerprints=fingerprints or {},
        banks={},
        versions=versions,
        directions=directions,
        evaluation={},
        policy="",
        indexes=indexes or {m: GalleryIndex() for m in galleries},
        part_weights=part_weights,
    )
    return MadeRelease(isotrope.open_corpus(root), galleries, directions)


def _write(
    tables: Tables,
    name: str,
    modality: str,
    gallery: Gallery,
    directions: dict[str, Direction],
    has_words: bool,
) -> None:
    rows = len(gallery.samples)
    ids = [f"{n:032x}" for n in gallery.samples]
    moved = [q for q in gallery.fitted if directions[f"{q}->{modality}"].recipe.moves]
    by_query = {q: directions[f"{q}->{modality}"] for q in gallery.fitted}
    bias = {q: c.bias for q, c in gallery.fitted.items()}
    folded = {q: b for q, b in bias.items() if q not in moved}
    columns = {
        "part_id": [f"{modality}-{each}" for each in ids],
        "id": ids, "cluster": ids, "key": [f"key-{n}" for n in gallery.samples],
        "caption": gallery.captions,
        "vector": vector_column(fold(gallery.items, folded, by_query)),
        "image_width": gallery.samples,
        "sample_ids": [[each] for each in ids], "drops": [["d"]] * rows,
    }  # fmt: skip
    for q in moved:
        vectors = fold(gallery.fitted[q].vectors, {q: bias[q]}, by_query)
        columns[f"vector_{q}"] = vector_column(vectors)
    for m in schema.MODALITIES:
        columns[f"bias_{m}"] = bias.get(m, np.zeros(rows, np.float32))
        fitted = gallery.fitted.get(m)
        no_flag = fitted is None or fitted.flag is None
        columns[f"hub_{m}"] = np.zeros(rows, bool) if no_flag else fitted.flag
    if has_words:
        columns |= item_words_of().columns(modality, gallery.items)
    more = words.COLUMNS if has_words else ()
    write_gallery(tables, name, schema.gallery(DIM, moved, more), columns, rows)


def item_words_of() -> words.ItemWords:
    """What gave words to the images."""
    rng = np.random.default_rng(3)
    bias = 0.1 * rng.normal(size=len(WORDS)).astype(np.float32)
    return words.ItemWords(WORDS, unit(rng, len(WORDS)), {"image": bias}, 3, "")
