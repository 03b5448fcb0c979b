"""The `late:` section of corpus.yaml: token vectors for late interaction."""

from typing import Annotated, Literal

from pydantic import BeforeValidator

from store.config.section import Section, as_tuple

_Modality = Literal["image", "text", "audio"]


class Late(Section):
    """Which items get token vectors. Without this section none get them.

    Attributes:
        modalities: of these items. Empty: all whose towers offer token vectors.
    """

    modalities: Annotated[tuple[_Modality, ...], BeforeValidator(as_tuple)] = ()
