"""One direction of a release: how queries of a modality are corrected in a gallery."""

from dataclasses import dataclass, field, replace
from typing import Any

from store.corrections.recipe import Recipe, recipe


@dataclass(frozen=True)
class Direction:
    """How queries of one modality are corrected when they search the gallery of a modality.

    Attributes:
        query: the modality of the queries.
        gallery: the modality of the gallery.
        method: the correction. "none" if raw scores were better.
        params: the parameters of the method.
        reason: why this method was selected.
        pairs: how many validation pairs it was selected on.
        zero: the score that is 0 on the calibrated scale, on which galleries are merged.
        unit: the length of 1 on the calibrated scale, in scores.
        centre: by which biases in served vectors are centred (`store.search.vector_layout`).
        scale: the factor of these biases. 1 in releases that were made before there was one.
        tried: the settings that were compared, with their results.
        words: whether hybrid search reads the words of the gallery's items.
    """

    query: str
    gallery: str
    method: str
    params: dict[str, Any]
    reason: str
    pairs: int
    zero: float = 0.0
    unit: float = 1.0
    centre: float = 0.0
    scale: float = 1.0
    tried: list[dict[str, Any]] = field(default_factory=list)
    words: bool = False

    @property
    def name(self) -> str:
        """Such as "text->image"."""
        return f"{self.query}->{self.gallery}"

    @property
    def recipe(self) -> Recipe:
        """The method and its parameters, to fit the correction again."""
        return recipe(self.method, self.params)

    def raw(self, reason: str) -> "Direction":
        """The same direction without a correction."""
        return replace(self, method="none", params={}, reason=reason)
