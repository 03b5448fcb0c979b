"""The `signals:` and `pairs:` sections of corpus.yaml: optional scorers and signals of pairs."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from store.config.section import PositiveInt, Section

_Colour = tuple[float, float, float]


class Classifier(Section):
    """An image classifier whose output is a signal.

    Images are resized to 256 pixels on the short side. The model's input is the centre crop.

    Attributes:
        model: `onnx:PATH`, or `timm/ARCHITECTURE:PATH` with a checkpoint. Relative paths start at
            the corpus's folder.
        output: the index of the model's output that is the signal.
        activation: applied to the outputs.
        side: of the square crop, in pixels.
        mean: of each colour channel, for the normalisation of the crop.
        std: of each colour channel, for the normalisation of the crop.
    """

    model: str
    output: Annotated[int, Field(ge=0)] = 0
    activation: Literal["none", "sigmoid", "softmax"] = "none"
    side: PositiveInt = 224
    mean: _Colour = (0.485, 0.456, 0.406)
    std: _Colour = (0.229, 0.224, 0.225)

    @field_validator("model")
    @classmethod
    def _has_kind_and_path(cls, model: str) -> str:
        kind, _, path = model.partition(":")
        timm = kind.startswith("timm/") and len(kind) > len("timm/")
        if not path or not (kind == "onnx" or timm):
            raise ValueError(f"{model!r}: expected onnx:PATH or timm/ARCHITECTURE:PATH")
        return model

    def path(self, root: Path) -> Path:
        """The absolute path of the model's file. `root` is the corpus's folder."""
        return (root / Path(self.model.partition(":")[2]).expanduser()).resolve()


class Signals(Section):
    """Optional signals, most of which models compute. Each takes longer than all others together.

    Attributes:
        edits: `image_double_jpeg`, `image_splice` and `image_resampled`, without a model.
        nsfw: `image_nsfw`: true for the model of the package nudenet (AGPL-3.0, the extra
            `nsfw-agpl`), or the path of an ONNX file of the same signature; a relative path starts
            at the corpus's folder.
        offensive: `text_offensive`, by the package alt-profanity-check (the extra `offensive`).
        speech: `audio_speech`, by Silero.
        aesthetic: a classifier for `image_aesthetic`.
        watermark: a classifier for `image_watermark`.
        other: a classifier for `image_class`. The key in corpus.yaml is `class`.
    """

    edits: bool = False
    nsfw: bool | Annotated[str, Field(min_length=1)] = False
    offensive: bool = False
    speech: bool = False
    aesthetic: Classifier | None = None
    watermark: Classifier | None = None
    other: Classifier | None = Field(default=None, alias="class")

    def nsfw_model(self, root: Path) -> Path | None:
        """The file that `nsfw` names, if any; `root` is the corpus's folder."""
        if isinstance(self.nsfw, bool):
            return None
        return (root / Path(self.nsfw).expanduser()).resolve()

    def switched_on(self) -> list[str]:
        """The names of the optional scorers that run; a classifier's is that of its signal."""
        scorers = {
            "image_edits": self.edits,
            "image_nsfw": self.nsfw,
            "text_offensive": self.offensive,
            "audio_speech": self.speech,
        }
        return [*(name for name, is_on in scorers.items() if is_on), *self.classifiers()]

    def classifiers(self) -> dict[str, Classifier]:
        """The configured classifiers by the name of their signal."""
        classifiers = {
            "image_aesthetic": self.aesthetic,
            "image_watermark": self.watermark,
            "image_class": self.other,
        }
        return {name: classifier for name, classifier in classifiers.items() if classifier}


class Pairs(Section):
    """How signals of pairs are measured in the corpus's space.

    Attributes:
        bank: how many random other samples a pair is compared with.
        clusters: into how many clusters the parts of each modality are divided, for a policy that
            caps clusters. 0: no clusters.
        image_laion_aesthetic: the file of a linear head on image vectors. It is only valid in the
            space that it was trained in (LAION's heads: in CLIP's). Relative paths start at the
            corpus's folder.
        mismatch: measure the probability that the parts of a pair do not belong together.
        repair: propose captions for images whose own caption is probably mismatched.
        sentinels: how many random parts of another modality are asked as queries, to measure which
            parts answer too many of them. 0: none.
    """

    bank: PositiveInt = 1024
    clusters: Annotated[int, Field(ge=0, le=65_536)] = 0
    image_laion_aesthetic: str | None = None
    mismatch: bool = False
    repair: bool = False
    sentinels: Annotated[int, Field(ge=0, le=10_000)] = 0

    @model_validator(mode="after")
    def _repair_needs_mismatch(self) -> "Pairs":
        if self.repair and not self.mismatch:
            raise ValueError("repair: true needs mismatch: true, which finds what to repair")
        return self
