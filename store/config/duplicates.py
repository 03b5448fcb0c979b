"""The `duplicates:` and `decontaminate:` sections of corpus.yaml."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from store.config.section import Section

CROPS_VERSION = 3  # of the search for crops; raised when it would find other pairs


class Duplicates(Section):
    """How similar two samples must be to count as duplicates.

    Of each cluster of duplicates, the best sample is kept: the representative. Only `exact` is on
    by default: the right threshold of the other kinds depends on the corpus. Null switches a kind
    off.

    Attributes:
        exact: find samples that are in several drops.
        image: the largest number of bits, of 256, in which the PDQ hashes of copies differ. PDQ's
            authors use 31. Images within this distance are also compared in colour before they
            count as copies.
        crops: how alike the pixels of an image and of a part of another must be: 1 less the largest
            difference where they overlap, such as 0.8. The part may be turned, scaled or mirrored.
            Needs OpenCV: `pip install 'isotrope[crops]'`.
        audio: the smallest share of equal bits of two fingerprints. Unrelated sounds have 0.5 in
            common; 0.75 is far above this.
        text: the smallest Jaccard similarity of the shingles of two texts, such as 0.7.
        semantic: the smallest cosine of two vectors in the corpus's space.
        parts: `first` compares samples by the first part that they have of image, audio and text.
            Captions of different images, and one sound with several images, are often similar but
            not duplicates. `every` compares all parts, and one similar part is enough.
    """

    exact: bool = True
    image: Annotated[int, Field(ge=0, le=63)] | None = None
    crops: Annotated[float, Field(ge=0.5, le=1)] | None = None
    audio: Annotated[float, Field(ge=0.6, le=1)] | None = None
    text: Annotated[float, Field(ge=0.5, le=1)] | None = None
    semantic: Annotated[float, Field(gt=0, le=1)] | None = None
    parts: Literal["first", "every"] = "first"

    def key(self) -> dict[str, Any]:
        """What results depend on. Corpora made before the search for crops stay up to date."""
        if self.crops is None:
            return self.model_dump(exclude={"crops"})
        return {**self.model_dump(), "crops_version": CROPS_VERSION}


class Evaluation(Section):
    """Evaluation samples, which must not be in the corpus.

    Attributes:
        name: of the evaluation set. Rules are named after it.
        path: a folder or a tar file like those of a source, or a .txt file with one text per line.
            Relative paths start at the corpus's folder.
    """

    name: str
    path: str

    @field_validator("name")
    @classmethod
    def _valid_name(cls, name: str) -> str:
        if not name.replace("-", "").replace("_", "").isalnum():
            raise ValueError(f"{name!r}: a name may have letters, digits, - and _")
        return name
