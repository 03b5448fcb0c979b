"""The `engine:` section of corpus.yaml: Ray and Beam."""

from typing import Annotated, Any, Literal

from pydantic import (
    Field,
)

from store.config.section import PositiveInt, Section


class Ray(Section):
    """The actor pool. `address: null` starts a local Ray, unless RAY_ADDRESS is set."""

    address: str | None = None
    actors: PositiveInt = 1
    num_cpus: Annotated[float, Field(gt=0)] = 1
    num_gpus: Annotated[float, Field(ge=0)] = 0
    batch_size: PositiveInt | None = None


class Beam(Section):
    """Beam's runner and its options, as they are written on Beam's command line."""

    runner: str = "FnApiRunner"
    options: dict[str, Any] = Field(default_factory=dict)


class Engine(Section):
    """`signals` says what reads samples and measures them: Ray's tasks use every core and outlive a
    decoder that takes its process down, Beam runs where it is told to; `auto` takes Ray where there
    is enough to do."""

    ray: Ray = Ray()
    beam: Beam = Beam()
    signals: Literal["auto", "beam", "ray"] = "auto"
