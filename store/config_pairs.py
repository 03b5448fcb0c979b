"""corpus.yaml's `pairs:`: what the parts of samples are compared with, once they have vectors."""

from typing import Annotated

from pydantic import Field

from store.config_section import PositiveInt, Section


class Pairs(Section):
    """How the signals of pairs are measured, in the corpus's space.

    `bank` is how many random other samples a pair is compared with. `clusters` is how many clusters
    the parts of each modality are dealt out to, for a policy that caps them; 0: none.
    `image_laion_aesthetic` is the file of a linear head over image vectors, which means something
    only in the space that it was trained in (LAION's were for CLIP's); relative paths start at the
    corpus's folder.
    """

    bank: PositiveInt = 1024
    clusters: Annotated[int, Field(ge=0, le=65_536)] = 0
    image_laion_aesthetic: str | None = None
