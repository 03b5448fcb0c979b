"""The `engine:` section of corpus.yaml: Ray, Beam, and how Dagster executes runs."""

from typing import Annotated, Any, Literal

from pydantic import Field

from store.config.section import PositiveInt, Section


class Tasks(Section):
    """What one Ray task reserves that reads samples or measures signals.

    Attributes:
        num_cpus: CPUs.
        memory: bytes. Null: none are reserved.
    """

    num_cpus: Annotated[float, Field(gt=0)] = 1
    memory: PositiveInt | None = None


class Ray(Section):
    """Ray and its actor pool.

    Attributes:
        address: of a Ray cluster. Null starts a local Ray, unless RAY_ADDRESS is set.
        actors: how many actors encode parts.
        num_cpus: CPUs of each actor, and its threads. Null: one. Without GPUs on a single machine,
            an actor then runs as many threads as the machine has CPUs for each actor.
        num_gpus: GPUs of each actor.
        batch_size: how many inputs of ordinary size an encoder processes at once. Null: the
            encoder's default.
        accelerator_type: only GPUs of this kind, as Ray names it, such as A100.
        memory: bytes that each actor reserves.
        wait_seconds: how long to wait until a cluster that scales has room for the actors.
        tasks: what each task reserves that reads or measures.
    """

    address: str | None = None
    actors: PositiveInt = 1
    num_cpus: Annotated[float, Field(gt=0)] | None = None
    num_gpus: Annotated[float, Field(ge=0)] = 0
    batch_size: PositiveInt | None = None
    accelerator_type: str | None = None
    memory: PositiveInt | None = None
    wait_seconds: Annotated[float, Field(ge=0)] = 0
    tasks: Tasks = Tasks()

    def of_actors(self) -> dict[str, Any]:
        """The settings of the actors, as `embedders.pool.pool.Pool` takes them."""
        return self.model_dump(exclude={"tasks"})


class Beam(Section):
    """Beam's runner and its options, named as on Beam's command line."""

    runner: str = "FnApiRunner"
    options: dict[str, Any] = Field(default_factory=dict)

    @property
    def is_default(self) -> bool:
        """Whether nothing is configured: then small work needs no pipeline."""
        return self == Beam()


class DuckDB(Section):
    """DuckDB, which lists, joins and orders rows of tables in the process that makes a stage.

    Attributes:
        memory: bytes, at least 50 million. What does not fit is spilled to `scratch`.
        threads: of each database.
    """

    memory: Annotated[int, Field(ge=50_000_000)] = 256_000_000
    threads: PositiveInt = 2


class Prices(Section):
    """Prices in any currency, for `isotrope estimate` and the cost of each materialisation.

    Attributes:
        machine_hour: of an hour of all machines that a run uses.
        gigabyte_month: of a month of 10^9 bytes of the tables' disk.
    """

    machine_hour: Annotated[float, Field(ge=0)]
    gigabyte_month: Annotated[float, Field(ge=0)] = 0


class Pools(Section):
    """How many stages of a kind Dagster makes at once, over all of its runs.

    The stages over all drops are always made one at a time.

    Attributes:
        cpu: stages that read and measure: `samples`, `signals`.
        gpu: stages that embed: `vectors`.
    """

    cpu: PositiveInt = 2
    gpu: PositiveInt = 1


class Engine(Section):
    """The engines that run the stages, and how Dagster executes its runs.

    Attributes:
        ray: its settings.
        beam: its settings.
        duckdb: its settings.
        scratch: a local folder for temporary files, such as ~/scratch. Null: beside the tables, or
            for tables in an object store, the system's folder for temporary files.
        signals: the engine that reads samples and measures signals. Ray tasks use every core and
            survive a decoder that crashes its process. Beam uses the runner in `beam`. `auto` uses
            Ray if there is enough work.
        executor: where Dagster executes the steps of a run. `in_process`: in the process of the
            run, which imports engines and models once. `multiprocess`: each in a process of its
            own. `k8s`: each in a pod of its own (extra `deploy`).
        runs: how many runs `isotrope dev` executes at once. A deployed Dagster has this in its
            dagster.yaml.
        pools: how many stages of a kind Dagster makes at once.
        prices: for `isotrope estimate` and Dagster's page.
    """

    ray: Ray = Ray()
    beam: Beam = Beam()
    duckdb: DuckDB = DuckDB()
    scratch: str | None = None
    signals: Literal["auto", "beam", "ray"] = "auto"
    executor: Literal["in_process", "multiprocess", "k8s"] = "in_process"
    runs: PositiveInt = 1
    pools: Pools = Pools()
    prices: Prices | None = None
