"""Evaluates the local space on the half of the stamps that is held out."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from embedders.local.shared import join_parts
from embedders.projection import Projection
from pipelines.local_heads.features import Features

_K = 10


@dataclass(frozen=True)
class Row:
    """The retrieval figures of one direction.

    Attributes:
        gallery: the number of gallery items.
        queries: the number of queries.
        figures: r@1, r@5, r@10 and median_rank.
        chance: r@10 of a random ranking.
    """

    gallery: int
    queries: int
    figures: dict[str, float]
    chance: float


def vectors_by_method(
    part: Features, text: Projection, image: Projection
) -> dict[str, dict[str, np.ndarray]]:
    """Unit vectors of texts and images by method, then by modality.

    The methods are `conse` (meaning alone), `head` (the learned head alone) and `both` halves.
    """
    halves = {
        "text": (part.caption_vectors, text(part.caption_vectors)),
        "image": (part.meaning, image(part.image_inputs)),
    }
    return {
        "conse": {modality: meaning for modality, (meaning, _) in halves.items()},
        "head": {modality: learned for modality, (_, learned) in halves.items()},
        "both": {modality: join_parts(*pair) for modality, pair in halves.items()},
    }


def evaluate_direction(
    queries: np.ndarray,
    gallery: np.ndarray,
    own: np.ndarray,
    caption_groups: np.ndarray | None,
) -> Row:
    """The figures of one direction, without a correction.

    Args:
        queries: (m, d) unit rows.
        gallery: (n, d) unit rows.
        own: (m,) the gallery row that each query belongs to.
        caption_groups: (n,) integers, equal for gallery items with equal captions. With them,
            every item with the caption of the own item is a right answer; with None, the own item
            alone is.
    """
    from store.corrections import fit
    from store.corrections.evaluate import evaluate

    right: Any = own
    if caption_groups is not None:
        right = [np.flatnonzero(caption_groups == caption_groups[i]) for i in own]
    raw = fit("none", gallery=gallery, query_bank=queries[:1], gallery_bank=gallery[:1])
    figures = evaluate(raw, queries, right).figures()
    is_single = caption_groups is None
    counts = np.ones(len(own)) if is_single else np.array([len(rows) for rows in right])
    n = len(gallery)
    # The probability that none of the right answers is among K random items.
    missed = np.prod([(n - counts - i) / (n - i) for i in range(min(_K, n))], axis=0)
    kept = {name: float(figures[name]) for name in ("r@1", "r@5", "r@10", "median_rank")}
    return Row(n, len(queries), kept, float(1 - missed.mean()))


def evaluate_text_and_image(held: Features, text: Projection, image: Projection) -> dict[str, Row]:
    """The figures between texts and images, under `{method} text->image` and `... image->text`.

    The own item is the only right answer. For both halves together there are figures with equal
    captions as right answers too, under `equal captions text->image` and `... image->text`.
    """
    rows: dict[str, Row] = {}
    own = np.arange(len(held.keys))
    groups = _caption_groups(held)
    for method, vectors in vectors_by_method(held, text, image).items():
        for query, answer in (("text", "image"), ("image", "text")):
            pair = vectors[query], vectors[answer]
            rows[f"{method} {query}->{answer}"] = evaluate_direction(*pair, own, None)
            if method == "both":
                name = f"equal captions {query}->{answer}"
                rows[name] = evaluate_direction(*pair, own, groups)
    return rows


def evaluate_audio(
    held: Features, text: Projection, image: Projection, audio: Projection
) -> dict[str, Row]:
    """The figures between recordings and texts or images, under names such as `sound->text`.

    The kinds of recordings are sound and speech; the gallery of recordings holds both kinds. Items
    with equal captions are right answers, since the recordings of different stamps of one letter
    say the same.
    """
    vectors = vectors_by_method(held, text, image)["both"]
    rows = {}
    groups = _caption_groups(held)
    with_audio = np.flatnonzero(held.has_audio())
    recordings, kinds = audio(held.audio_inputs[with_audio]), held.kinds[with_audio]
    for kind in ("sound", "speech"):
        of_kind = np.flatnonzero(kinds == kind)
        stamps = with_audio[of_kind]
        for other in ("text", "image"):
            rows[f"{kind}->{other}"] = evaluate_direction(
                recordings[of_kind], vectors[other], stamps, groups
            )
            rows[f"{other}->{kind}"] = evaluate_direction(
                vectors[other][stamps], recordings, of_kind, groups[with_audio]
            )
    return rows


def _caption_groups(part: Features) -> np.ndarray:
    """(n,) integers, equal for captions that are equal but for case and punctuation."""
    folded = [caption.casefold().strip(" .!") for caption in part.captions.tolist()]
    return np.unique(folded, return_inverse=True)[1]
