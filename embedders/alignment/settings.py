"""The settings of an alignment."""

from dataclasses import dataclass

from store.errors import InputError

KINDS = ("linear", "mlp")
CLOSED_FORMS = ("ridge", "cca")
LOSSES = ("softmax", "sigmoid")


@dataclass(frozen=True)
class Settings:
    """How heads are learned.

    Attributes:
        method: `contrastive`: a head in closed form is trained further; `ridge` regression into a
            space that is kept; or `cca`, regularised canonical correlation. The last two are
            linear, and use only `dim`, `validation` and `seed` of the other settings.
        kind: `linear`, or `mlp` (one hidden layer beside the linear map).
        dim: of the shared space, if both sides are projected; otherwise it is that of y, and `cca`
            maps on so many components in between.
        loss: `softmax` (InfoNCE) or `sigmoid` (SigLIP).
        structure: weight of the regulariser that keeps neighbourhoods; 0 leaves it out.
        levels: how many levels of neighbourhoods (neighbours, neighbours of neighbours, ...) the
            regulariser compares.
        structure_temperature: of the similarities that it compares.
        width: of the hidden layer.
        dropout: the share of input features that is dropped in each step.
        noise: standard deviation of the noise that is added to the standardised features in each
            step.
        learning_rate: the highest of AdamW; it falls to zero along a cosine.
        weight_decay: of AdamW.
        keep: when a head that was learned before is trained further (`embedders.alignment.grow`),
            the weight of the squared distance of its parameters from where they were (L2-SP, Li,
            Grandvalet and Davoine 2018), in place of `weight_decay`.
        batch: pairs in each step.
        epochs: the largest number of epochs.
        patience: training ends after this many epochs without a better validation. The best epoch
            is kept.
        validation: the share of groups that is held out.
        seed: of everything that is drawn at random.

    Raises:
        InputError: a value is not allowed.
    """

    method: str = "contrastive"
    kind: str = "linear"
    dim: int = 256
    loss: str = "softmax"
    structure: float = 0.0
    levels: int = 3
    structure_temperature: float = 0.05
    width: int = 512
    dropout: float = 0.1
    noise: float = 0.0
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    keep: float = 1e-3
    batch: int = 1024
    epochs: int = 200
    patience: int = 20
    validation: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        for name, value, allowed in (
            ("method", self.method, ("contrastive", *CLOSED_FORMS)),
            ("kind", self.kind, KINDS),
            ("loss", self.loss, LOSSES),
        ):
            if value not in allowed:
                raise InputError(f"{name}={value!r}; allowed: {', '.join(allowed)}")
        for name in ("dim", "levels", "width", "batch", "epochs", "patience"):
            if getattr(self, name) < 1:
                raise InputError(f"{name}={getattr(self, name)}; it must be at least 1")
        if not 0 < self.validation < 1:
            raise InputError(f"validation={self.validation}; it must be between 0 and 1")
