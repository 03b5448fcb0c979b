"""corpus.yaml: the one configuration file, validated before anything runs.

Every error names the line, the field, the value that was given and what is allowed.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    BeforeValidator,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from store import schema
from store.config_duplicates import Duplicates, Evaluation
from store.config_errors import explain
from store.config_pairs import Pairs
from store.config_policy import DEFAULT_POLICY, Policy, listed
from store.config_section import PositiveInt, Section
from store.config_signals import Signals
from store.config_sources import Errors, Source
from store.corrections.recipe import recipe
from store.errors import ConfigError, NotFoundError

FILE = "corpus.yaml"


class Limits(Section):
    """Upper bounds of one record's parts; what passes one is rejected, never read or decoded.

    Sizes are bytes as delivered, `image_pixels` is width times height before decoding, and
    `audio_seconds` is the playing time.
    """

    image_bytes: PositiveInt = 64 << 20
    image_pixels: PositiveInt = 100_000_000
    audio_bytes: PositiveInt = 256 << 20
    audio_seconds: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 3600.0
    text_bytes: PositiveInt = 1 << 20
    meta_bytes: PositiveInt = 1 << 20


class Corrections(Section):
    """What a release may choose from, and how much of the corpus it sets aside to choose with.

    A correction is measured on a bank of queries, and it is as good as they are like those that
    are going to be asked. `query_bank` says where they come from: `corpus` takes captions and
    pictures of the corpus itself, which need nobody and nothing; `file` takes `queries` (see
    `pipelines.query_file`), for who knows what will be asked; `log` takes what has been asked
    (`query_log`). A list joins them. Where `file` and `log` have fewer than 16 queries of a
    modality, the corpus's own join them: a log begins empty. The gallery's side of a bank is
    always the corpus's.

    `methods` are tried, all there are by default; `directions` name one for a direction and leave
    no choice, such as {"image->image": csls}. `drift_bound` is how much more skewed the
    k-occurrence of fresh queries may be than that of the release's own before a refit is asked for.
    """

    methods: tuple[str, ...] | None = None
    directions: dict[str, str] = Field(default_factory=dict)
    query_bank: Annotated[
        tuple[Literal["corpus", "file", "log"], ...], BeforeValidator(listed), Field(min_length=1)
    ] = ("corpus",)
    queries: str | None = None
    bank_rows: PositiveInt = 10_000
    bank_share: Annotated[float, Field(gt=0, lt=1)] = 0.5
    test_share: Annotated[float, Field(gt=0, lt=1)] = 0.25
    drift_bound: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.5
    seed: int = 0

    @field_validator("methods")
    @classmethod
    def _known_methods(cls, methods: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for name in methods or ():
            recipe(name)
        return methods

    @field_validator("directions")
    @classmethod
    def _known_directions(cls, directions: dict[str, str]) -> dict[str, str]:
        for name, method in directions.items():
            query, _, searched = name.partition("->")
            if not {query, searched} <= set(schema.MODALITIES):
                allowed = ", ".join(schema.MODALITIES)
                raise ValueError(f"{name!r}: such as text->image; modalities are {allowed}")
            if method != "auto":
                recipe(method)
        return directions

    @model_validator(mode="after")
    def _leaves_validation(self) -> "Corrections":
        if self.bank_share + self.test_share >= 1:
            raise ValueError("bank_share + test_share must stay below 1: the rest is validation")
        return self

    @model_validator(mode="after")
    def _file_is_named(self) -> "Corrections":
        if ("file" in self.query_bank) != (self.queries is not None):
            raise ValueError(
                "query_bank: file and queries: PATH go together, such as"
                " {query_bank: file, queries: queries.txt}"
            )
        return self


class QueryLog(Section):
    """What is kept of the queries that are asked: their vectors, never their words or pictures.

    Without this section nothing is logged; `query_log: {}` logs by the defaults. Rows older than
    `keep_days`, and all but the newest `keep_rows`, are deleted. A bank that was drawn from the log
    (`query_bank: log`) keeps the vectors that it drew for as long as its release is kept.
    """

    keep_days: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 30
    keep_rows: PositiveInt = 100_000


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


class CorpusConfig(Section):
    """The whole of corpus.yaml."""

    sources: dict[str, Source]
    tables: str = "tables"
    limits: Limits = Limits()
    errors: Errors = Errors()
    signals: Signals = Signals()
    pairs: Pairs = Pairs()
    duplicates: Duplicates = Duplicates()
    decontaminate: tuple[Evaluation, ...] = ()
    policy: Policy = DEFAULT_POLICY
    space: str = "local"
    spaces: dict[str, dict[str, Any]] = Field(default={"local": {"preset": "local"}})
    corrections: Corrections = Corrections()
    query_log: QueryLog | None = None
    engine: Engine = Engine()

    @field_validator("sources")
    @classmethod
    def _some_source(cls, sources: dict[str, Source]) -> dict[str, Source]:
        if not sources:
            raise ValueError("name at least one source, such as `photos: {path: ~/photos}`")
        for name in sources:
            if not name.replace("-", "").replace("_", "").isalnum():
                raise ValueError(f"{name!r}: a source's name is letters, digits, - and _")
        return sources

    @field_validator("decontaminate")
    @classmethod
    def _different_names(cls, listed: tuple[Evaluation, ...]) -> tuple[Evaluation, ...]:
        names = [e.name for e in listed]
        if twice := sorted({n for n in names if names.count(n) > 1}):
            raise ValueError(f"{', '.join(twice)}: named twice; rules are called by these names")
        return listed

    @model_validator(mode="after")
    def _space_is_defined(self) -> "CorpusConfig":
        if self.space not in self.spaces:
            raise ValueError(
                f"space {self.space!r} is not among spaces: {', '.join(self.spaces) or 'none'}"
            )
        self.policy.check_space(self.space, self.spaces[self.space])
        return self

    @model_validator(mode="after")
    def _log_is_kept(self) -> "CorpusConfig":
        if "log" in self.corrections.query_bank and self.query_log is None:
            raise ValueError(
                "corrections.query_bank: log needs a log: add `query_log: {keep_days: 30}`, which"
                " keeps the vectors of queries for so long"
            )
        return self


def load(folder: str | Path) -> CorpusConfig:
    """Read and validate FOLDER/corpus.yaml.

    Raises:
        NotFoundError: there is no such file.
        ConfigError: it is not YAML, or a field is unknown or has a value that is not allowed.
    """
    path = Path(folder) / FILE
    if not path.is_file():
        raise NotFoundError(
            f"no {FILE} in {folder}; `isotrope init {folder} --from SOURCE` writes one"
        )
    return parse(path.read_text(encoding="utf-8", errors="replace"), name=str(path))


def parse(text: str, name: str = FILE) -> CorpusConfig:
    """Validate the text of a corpus.yaml; `name` is how errors call it."""
    try:
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{name}:{mark.line + 1}" if mark else name
        raise ConfigError(f"{where}: not YAML: {getattr(error, 'problem', error)}") from None
    if not isinstance(data, dict):
        raise ConfigError(f"{name}: a mapping is expected, with `sources:` at least")
    try:
        return CorpusConfig.model_validate(data)
    except ValidationError as error:
        lines = [explain(e, CorpusConfig, tree, name) for e in error.errors()]
        raise ConfigError("\n".join(lines)) from None
