"""corpus.yaml's `duplicates:` and `decontaminate:`: what is too near to something else."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from store.config.section import Section


class Duplicates(Section):
    """How near two samples must be for the better one to stand for both; null: not looked for.

    `exact` is of samples that are in several drops, and the only kind that is looked for unless
    others are asked for: how near is near depends on the corpus. `image` is bits, of 256, in
    which hashes of copies may differ; 31 is what PDQ's authors take. What is that near is looked
    at, in colour, before it counts as a copy. `audio` is the share of equal bits of fingerprints;
    strangers have a half, and 0.75 is far from it. `text` is the Jaccard similarity of shingles,
    such as 0.7.
    `semantic` is the cosine of vectors in the corpus's space.

    By `parts: first` a sample is compared by its first part of image, audio and text: captions of
    different pictures, and one sound under several pictures, are often alike and no copies. By
    `parts: every` any one part near to another's costs the sample.
    """

    exact: bool = True
    image: Annotated[int, Field(ge=0, le=63)] | None = None
    audio: Annotated[float, Field(ge=0.6, le=1)] | None = None
    text: Annotated[float, Field(ge=0.5, le=1)] | None = None
    semantic: Annotated[float, Field(gt=0, le=1)] | None = None
    parts: Literal["first", "every"] = "first"


class Evaluation(Section):
    """Samples that must not be in the corpus, since something is going to be evaluated on them: a
    folder or a tar like a source's, or a .txt file with a text a line."""

    name: str
    path: str

    @field_validator("name")
    @classmethod
    def _plain(cls, name: str) -> str:
        if not name.replace("-", "").replace("_", "").isalnum():
            raise ValueError(f"{name!r}: letters, digits, - and _")
        return name
