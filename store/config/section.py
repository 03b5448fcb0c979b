"""The base class and common types of the sections of corpus.yaml."""

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


class Section(BaseModel):
    """A section of corpus.yaml. Unknown keys are errors, and values cannot be changed."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def as_tuple(value: Any) -> Any:
    """A string as a tuple of one string; other values unchanged. For a BeforeValidator."""
    return (value,) if isinstance(value, str) else value


PositiveInt = Annotated[int, Field(gt=0)]
Names = Annotated[tuple[str, ...], BeforeValidator(as_tuple)]  # one string, or a list of them
