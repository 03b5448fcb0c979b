"""An encoder whose vectors go through a learned projection into a space."""

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from embedders.encoder import Encoder, cost_of
from embedders.projection import Projection
from store.errors import EncoderError, NotAlignedError


class Projected:
    """Args: the encoder, and the file of its projection, which is read when it is first needed."""

    def __init__(self, encoder: Encoder, file: str):
        self.encoder = encoder
        self.file = file
        self.name = encoder.name
        self.version = encoder.version
        self.modality = encoder.modality

    @cached_property
    def projection(self) -> Projection:
        """Raises NotAlignedError where there is none yet, EncoderError where it does not fit."""
        if not self.file:
            raise NotAlignedError(
                f"{self.name} has not been aligned with its space yet: `isotrope align`"
            )
        found = Projection.load(Path(self.file))
        if found.dim_in != self.encoder.dim:
            raise EncoderError(
                f"{self.file} projects rows of {found.dim_in} numbers, {self.name} makes"
                f" {self.encoder.dim}: `isotrope align` learns another"
            )
        return found

    @cached_property
    def dim(self) -> int:
        return self.projection.dim

    @cached_property
    def fingerprint(self) -> str:
        return f"{self.encoder.fingerprint}>{self.projection.fingerprint}"

    def prepare(self, raw: Any) -> Any:
        return self.encoder.prepare(raw)

    def cost(self, prepared: Any) -> float:
        return cost_of(self.encoder, prepared)

    def encode(self, batch: list[Any]) -> np.ndarray:
        return self.projection(self.encoder.encode(batch))
