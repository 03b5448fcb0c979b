"""corpus.yaml's `signals:`, the scorers that run only where they are asked for."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator

from store.config.section import PositiveInt, Section

_Colour = tuple[float, float, float]


class Classifier(Section):
    """A classifier of pictures: `model` is `onnx:PATH`, or `timm/ARCHITECTURE:PATH` with a
    checkpoint; relative paths start at the corpus's folder.

    Pictures are measured at 256 pixels on the short side. The model sees their middle, `side`
    pixels square, normalised by `mean` and `std`; value `output` of what it gives, after
    `activation`, is the signal.
    """

    model: str
    output: Annotated[int, Field(ge=0)] = 0
    activation: Literal["none", "sigmoid", "softmax"] = "none"
    side: PositiveInt = 224
    mean: _Colour = (0.485, 0.456, 0.406)
    std: _Colour = (0.229, 0.224, 0.225)

    @field_validator("model")
    @classmethod
    def _known_kind(cls, model: str) -> str:
        kind, _, path = model.partition(":")
        timm = kind.startswith("timm/") and len(kind) > len("timm/")
        if not path or not (kind == "onnx" or timm):
            raise ValueError(f"{model!r}: such as onnx:PATH or timm/ARCHITECTURE:PATH")
        return model

    def path(self, root: Path) -> Path:
        return (root / Path(self.model.partition(":")[2]).expanduser()).resolve()


class Signals(Section):
    """Signals that models give, and that nobody gets unasked: each costs more than all the others.

    `nsfw` is true for the model of the package nudenet (AGPL-3.0, the extra `nsfw-agpl`), or the
    path of an ONNX file of the same signature; relative paths start at the corpus's folder.
    `speech` is Silero's; `aesthetic`, `watermark` and `class` are whatever the classifiers that
    they name give, as `image_aesthetic`, `image_watermark` and `image_class`.
    """

    nsfw: bool | Annotated[str, Field(min_length=1)] = False
    speech: bool = False
    aesthetic: Classifier | None = None
    watermark: Classifier | None = None
    other: Classifier | None = Field(default=None, alias="class")

    def nsfw_model(self, root: Path) -> Path | None:
        """The file that `nsfw` names, if any; `root` is the corpus's folder."""
        if isinstance(self.nsfw, bool):
            return None
        return (root / Path(self.nsfw).expanduser()).resolve()

    def classifiers(self) -> dict[str, Classifier]:
        """The classifiers by the columns that they give."""
        named = {"aesthetic": self.aesthetic, "watermark": self.watermark, "class": self.other}
        return {f"image_{name}": found for name, found in named.items() if found}


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
