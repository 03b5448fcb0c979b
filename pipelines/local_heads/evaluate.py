"""How well the local space does on the half of the stamps that is held out."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from embedders.local.shared import joined
from embedders.projection import Projection
from pipelines.local_heads.features import Features

_K = 10


@dataclass(frozen=True)
class Row:
    """One direction's figures: r@1, r@5, r@10 and median_rank; `chance` of r@10."""

    gallery: int
    queries: int
    figures: dict[str, float]
    chance: float


def places(part: Features, text: Projection, image: Projection) -> dict[str, dict[str, np.ndarray]]:
    """Vectors of texts and images by how they are made: conse, head, both."""
    halves = {"text": (part.caption, text(part.caption)), "image": (part.meaning, image(part.seen))}
    return {
        way: {m: pick(meaning, learned) for m, (meaning, learned) in halves.items()}
        for way, pick in {
            "conse": lambda meaning, learned: meaning,
            "head": lambda meaning, learned: learned,
            "both": joined,
        }.items()
    }


def between(
    queries: np.ndarray, gallery: np.ndarray, own: np.ndarray, captions: np.ndarray | None
) -> Row:
    """Figures of queries (m, d) whose own rows of the gallery (n, d) are `own` (m,).

    With `captions` (n,) of the gallery, every row of the own caption is right.
    """
    from store.corrections import fit
    from store.corrections.evaluate import evaluate

    right: Any = own
    if captions is not None:
        right = [np.flatnonzero(captions == captions[i]) for i in own]
    raw = fit("none", gallery=gallery, query_bank=queries[:1], gallery_bank=gallery[:1])
    figures = evaluate(raw, queries, right).figures()
    counts = np.ones(len(own)) if captions is None else np.array([len(r) for r in right])
    n = len(gallery)
    missed = np.prod([(n - counts - i) / (n - i) for i in range(min(_K, n))], axis=0)
    kept = {name: float(figures[name]) for name in ("r@1", "r@5", "r@10", "median_rank")}
    return Row(n, len(queries), kept, float(1 - missed.mean()))


def text_and_image(held: Features, text: Projection, image: Projection) -> dict[str, Any]:
    """By way (conse, head, both): `text->image` and `image->text`, strictly the own answer; and of
    both halves with equal captions taken for right."""
    found: dict[str, Any] = {}
    own = np.arange(len(held.keys))
    for way, vectors in places(held, text, image).items():
        for query, answer in (("text", "image"), ("image", "text")):
            pair = vectors[query], vectors[answer]
            found[f"{way} {query}->{answer}"] = between(*pair, own, None)
            if way == "both":
                found[f"equal captions {query}->{answer}"] = between(*pair, own, _said(held))
    return found


def with_audio(
    held: Features, text: Projection, image: Projection, audio: Projection
) -> dict[str, Row]:
    """By kind of recording (sound, speech) and direction; equal captions are right answers, since
    nothing in a recording of a letter tells its size. The gallery of recordings holds both kinds.
    """
    vectors = places(held, text, image)["both"]
    found = {}
    captions = _said(held)
    rows = np.flatnonzero(np.isfinite(held.heard).all(axis=1))
    heard, kinds = audio(held.heard[rows]), held.kinds[rows]
    for kind in ("sound", "speech"):
        mine = np.flatnonzero(kinds == kind)
        for other in ("text", "image"):
            found[f"{kind}->{other}"] = between(heard[mine], vectors[other], rows[mine], captions)
            found[f"{other}->{kind}"] = between(
                vectors[other][rows[mine]], heard, mine, captions[rows]
            )
    return found


def _said(part: Features) -> np.ndarray:
    folded = [caption.casefold().strip(" .!") for caption in part.captions.tolist()]
    return np.unique(folded, return_inverse=True)[1]
