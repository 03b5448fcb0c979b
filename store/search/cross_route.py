"""The route through another modality for searches within one modality.

After Mistretta et al. 2025, "Cross the Gap: Exposing the intra-modal misalignment in CLIP via
modality inversion", ICLR. Encoders that are trained on pairs of modalities order items of one
modality by chance as far as the pairs do not: two images are compared better by way of a text. The
paper finds the text by optimisation through the encoder. Here it is looked up, so that no encoder
is needed: the other part of the item's own sample, or else the nearest items of the other modality,

    v = norm(sum_i w_i t_i),  w = softmax(BETA s(q, t_i)) over the NEAREST best corrected scores s

The gallery is then searched by v as by any query of the other modality.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from store.arrow import as_matrix
from store.search.column_plan import WeightedInput
from store.search.corrected_search import search_corrected
from store.search.opened import OpenRelease
from store.search.vector_layout import unfold
from store.tables.lance_tables import one_of

NEAREST = 8
BETA = 20.0
_BRIDGES = ("text", "image", "audio")  # the first of another modality that has a gallery


def cross(
    opened: OpenRelease, inputs: Sequence[WeightedInput], gallery: str
) -> list[WeightedInput]:
    """Replace inputs of the gallery's own modality by their representations in another modality.

    Args:
        opened: the release.
        inputs: of the query.
        gallery: the modality of the gallery that is searched.

    Returns:
        The inputs. Equal to `inputs` if the release has no other gallery, or an empty one.
    """
    bridge = bridge_of(opened.release.modalities, gallery)
    if bridge is None:
        return list(inputs)
    return [i if i.modality != gallery else _crossed(opened, i, bridge) for i in inputs]


def crossed_modalities(
    opened: OpenRelease, inputs: Sequence[WeightedInput], gallery: str
) -> list[WeightedInput]:
    """The inputs with the modalities that `cross` gives them, for a plan without searches."""
    bridge = bridge_of(opened.release.modalities, gallery) or gallery
    return [i if i.modality != gallery else replace(i, modality=bridge) for i in inputs]


def bridge_of(present: Sequence[str], gallery: str) -> str | None:
    """The modality that searches within a gallery go through, of those that are present.

    None if there is no other.
    """
    return next((m for m in _BRIDGES if m != gallery and m in present), None)


def bridge_vector(vectors: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """The unit mean (d,) of vectors (n, d) by the soft maximum of their scores (n,)."""
    weights = np.exp(BETA * (scores - scores.max()))
    mean = weights @ vectors
    return (mean / np.linalg.norm(mean)).astype(np.float32)


def _crossed(opened: OpenRelease, given: WeightedInput, bridge: str) -> WeightedInput:
    vectors, scores = _paired(opened, given, bridge) or _nearest(opened, given, bridge)
    if not len(vectors):
        return given
    return replace(given, modality=bridge, vector=bridge_vector(vectors, scores))


def _paired(
    opened: OpenRelease, given: WeightedInput, bridge: str
) -> tuple[np.ndarray, np.ndarray] | None:
    """The other part of the sample that the input was taken from."""
    if not given.sample:
        return None
    rows = opened.gallery_dataset(bridge).to_table(
        columns=["vector"], filter=one_of("id", [given.sample])
    )
    if not rows.num_rows:
        return None
    return unfold(as_matrix(rows["vector"]), opened.release.dim), np.zeros(rows.num_rows)


def _nearest(
    opened: OpenRelease, given: WeightedInput, bridge: str
) -> tuple[np.ndarray, np.ndarray]:
    """The best items of the other modality, and their corrected scores."""
    direction = opened.release.directions.get(f"{given.modality}->{bridge}")
    compiled = {given.modality: direction} if direction and direction.method != "none" else {}
    answer = search_corrected(
        opened.open_gallery(bridge),
        [replace(given, weight=1.0)],
        compiled,
        ["vector"],
        None,
        NEAREST,
    )
    rows = answer.rows
    return unfold(as_matrix(rows["vector"]), opened.release.dim), rows["_score"].to_numpy()
