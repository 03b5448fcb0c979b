"""The `engine:` section of corpus.yaml: Ray and Beam."""

from typing import Annotated, Any, Literal

from pydantic import Field

from store.config.section import PositiveInt, Section


class Ray(Section):
    """Ray and its actor pool.

    Attributes:
        address: of a Ray cluster. Null starts a local Ray, unless RAY_ADDRESS is set.
        actors: how many actors encode parts.
        num_cpus: CPUs of each actor.
        num_gpus: GPUs of each actor.
        batch_size: how many inputs of ordinary size an encoder processes at once. Null: the
            encoder's default.
    """

    address: str | None = None
    actors: PositiveInt = 1
    num_cpus: Annotated[float, Field(gt=0)] = 1
    num_gpus: Annotated[float, Field(ge=0)] = 0
    batch_size: PositiveInt | None = None


class Beam(Section):
    """Beam's runner and its options, named as on Beam's command line."""

    runner: str = "FnApiRunner"
    options: dict[str, Any] = Field(default_factory=dict)


class Engine(Section):
    """The engines that run the stages.

    Attributes:
        ray: its settings.
        beam: its settings.
        scratch: a local folder for temporary files, such as ~/scratch. Null: beside the tables, or
            for tables in an object store, the system's folder for temporary files.
        signals: the engine that reads samples and measures signals. Ray tasks use every core and
            survive a decoder that crashes its process. Beam uses the runner in `beam`. `auto` uses
            Ray if there is enough work.
    """

    ray: Ray = Ray()
    beam: Beam = Beam()
    scratch: str | None = None
    signals: Literal["auto", "beam", "ray"] = "auto"
