"""The `cascade` of a policy: expensive scorers that run only where cheaper signals decide nothing.

policy:
  image_min_side: {min: 256}
  image_nsfw: {max: 0.5}
  cascade: {scorers: [image_edits, image_nsfw], loss: 0.01}
"""

import math
from typing import Annotated

from pydantic import Field, field_validator, model_validator

from store.config.section import Names, PositiveInt, Section
from store.tables.signals import optional_scorers


class Cascade(Section):
    """The last scorers to run, and the risk at which cheaper signals may stand for them.

    Attributes:
        scorers: optional scorers, the cheapest first; a classifier is named after its signal. Each
            measures only the samples that no rule of the policy rejects by earlier signals.
        loss: of the samples that a scorer's rules would keep, and likewise of those that they would
            reject, at most this share may be decided wrongly by earlier signals, on average over
            draws of the sample. None: earlier signals decide by their own rules alone.
        sample: how many random samples of each drop are measured by all scorers, to learn from.
    """

    scorers: Annotated[Names, Field(min_length=1)]
    loss: Annotated[float, Field(gt=0, lt=0.5)] | None = None
    sample: PositiveInt = 2000

    @field_validator("scorers")
    @classmethod
    def _optional_once(cls, scorers: tuple[str, ...]) -> tuple[str, ...]:
        allowed = optional_scorers()
        if unknown := [name for name in scorers if name not in allowed]:
            raise ValueError(f"{unknown[0]!r} is no optional scorer; allowed: {', '.join(allowed)}")
        if len(set(scorers)) < len(scorers):
            raise ValueError("each scorer may be named once")
        return scorers

    @model_validator(mode="after")
    def _sample_can_show_loss(self) -> "Cascade":
        # Half of the sample is calibrated on: of n samples none may be lost, which shows a loss of
        # 1 / (n + 1).
        if self.loss is not None and self.sample // 2 < (1 / self.loss - 1) - 1e-9:
            least = 2 * math.ceil(1 / self.loss - 1 - 1e-9)
            raise ValueError(
                f"a loss of {self.loss:g} cannot be shown by {self.sample} samples: give at least"
                f" sample: {least}"
            )
        return self
