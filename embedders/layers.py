"""Layers: an encoder's output at an earlier depth, as vectors to align.

The last layer of a frozen network is made for its own task. The layer that resembles another
encoder most can lie before it (Huh et al. 2024, "The Platonic representation hypothesis", ICML);
`isotrope layers` looks for it. The option `layer=N` of a spec makes the output of the N-th layer,
counted from the input, the vectors of an encoder: the mean over the tokens of a text, or over the
positions of an image.
"""

from collections.abc import Sequence
from typing import Any, Protocol, TypeGuard

import numpy as np

from embedders.encoder import Encoder, cost_of, unit_rows
from store.errors import EncoderError

OPTION = "layer"


class HasLayers(Encoder, Protocol):
    """An encoder that also offers its layers.

    Attributes:
        layer_dims: the number of dimensions of each layer, from the input to the output.
    """

    @property
    def layer_dims(self) -> Sequence[int]: ...

    def encode_layers(self, batch: list[Any]) -> tuple[list[np.ndarray], np.ndarray]:
        """The layers of prepared inputs, and their vectors, by one run of the model.

        Returns:
            For each layer, float32 (n, its dimensions), of any length; and what `encode` returns.

        Raises:
            EncoderError: the model is of a kind whose layers cannot be had.
        """
        ...


def layered(encoder: Encoder) -> HasLayers:
    """The encoder itself, as one that offers its layers.

    Raises:
        EncoderError: it offers none.
    """
    if not _has_layers(encoder):
        raise EncoderError(
            f"{encoder.name} offers no layers; encoders that do: local:image, local:text, and"
            " those of open_clip, sentence_transformers and timm"
        )
    return encoder


def _has_layers(encoder: Encoder) -> TypeGuard[HasLayers]:
    return hasattr(encoder, "encode_layers")


class LayerEncoder:
    """Encodes inputs as the unit vectors of one layer.

    Args:
        encoder: that offers its layers.
        option: the number of the layer, from 1.

    Raises:
        EncoderError: it offers none, or has no layer of that number.
    """

    def __init__(self, encoder: Encoder, option: str):
        self.encoder = layered(encoder)
        count = len(self.encoder.layer_dims)
        if not option.isdecimal() or not 1 <= int(option) <= count:
            raise EncoderError(f"{OPTION}={option}: {encoder.name} has the layers 1 to {count}")
        self.number = int(option)
        self.name = encoder.name
        self.version = encoder.version
        self.modality = encoder.modality

    @property
    def dim(self) -> int:
        return self.encoder.layer_dims[self.number - 1]

    @property
    def fingerprint(self) -> str:
        return f"{self.encoder.fingerprint}+{OPTION}={self.number}"

    def prepare(self, raw: Any) -> Any:
        return self.encoder.prepare(raw)

    def cost(self, prepared: Any) -> float:
        return cost_of(self.encoder, prepared)

    def encode(self, batch: list[Any]) -> np.ndarray:
        layers, _ = self.encoder.encode_layers(batch)
        return unit_rows(layers[self.number - 1])
