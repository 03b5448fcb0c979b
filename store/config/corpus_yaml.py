"""Reads corpus.yaml, the configuration file of a corpus, and validates it.

Every error names the line, the field, the given value and what is allowed.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from store.config import only_for
from store.config.corrections import Corrections, QueryLog
from store.config.duplicates import Duplicates, Evaluation
from store.config.engine import Engine
from store.config.index import Index
from store.config.late import Late
from store.config.limits import Limits
from store.config.links import Links
from store.config.moments import Moments
from store.config.policy import DEFAULT_POLICY, Policy
from store.config.section import Section
from store.config.server import Server
from store.config.signals import Pairs, Signals
from store.config.sources import Errors, Source
from store.config.tables import Tables, TablesAt
from store.config.words import Words
from store.config.yaml_errors import explain
from store.config.yaml_loader import MAX_CHARACTERS, load_yaml, too_long
from store.errors import ConfigError, NotFoundError
from store.tables.schema import MODALITIES
from store.tables.tokens import OPTION

FILE = "corpus.yaml"
Owner = Annotated[str, Field(pattern=r"^(team:[\w.-]+|[^@\s]+@[^@\s]+\.[^@\s]+)$")]
_MAX_ERRORS = 20  # that are explained in one message


class CorpusConfig(Section):
    """All sections of corpus.yaml.

    Attributes:
        space: the main space: it is searched unless another one is named, and the policy and
            `duplicates` read its tables.
        spaces: all of them are made, each with tables, assets and releases of its own.
        query_spaces: spaces that nothing is embedded in. Their towers encode queries of a space
            that names them as its `queries`, by way of a bridge (`isotrope bridge`).
        vectors: the type in which vectors are stored. `float16` takes half of the bytes.
        owners: of the tables, for Dagster's page: email addresses, or team:NAME.
        lost_drops: what `isotrope run` does with a drop that no source delivers any more: `keep`
            its samples, `remove` them, or `ask` (without a terminal: keep them and say so).
        log_format: of `isotrope run`, `isotrope serve` and a deployed code location: `text`, or
            `json`, a line for each message with its run, drop and stage.
    """

    sources: dict[str, Source]
    lost_drops: Literal["keep", "ask", "remove"] = "ask"
    tables: Tables = TablesAt()
    limits: Limits = Limits()
    errors: Errors = Errors()
    signals: Signals = Signals()
    pairs: Pairs = Pairs()
    duplicates: Duplicates = Duplicates()
    decontaminate: tuple[Evaluation, ...] = ()
    policy: Policy = DEFAULT_POLICY
    space: str = "local"
    spaces: dict[str, dict[str, Any]] = Field(default={"local": {"preset": "local"}})
    query_spaces: dict[str, dict[str, Any]] = Field(default_factory=dict)
    vectors: Literal["float32", "float16"] = "float32"
    corrections: Corrections = Corrections()
    words: Words | None = None
    late: Late | None = None
    moments: Moments | None = None
    index: Index = Index()
    query_log: QueryLog | None = None
    engine: Engine = Engine()
    server: Server = Server()
    owners: tuple[Owner, ...] = ()
    links: Links = Links()
    log_format: Literal["text", "json"] = "text"

    @field_validator("sources")
    @classmethod
    def _source_names(cls, sources: dict[str, Source]) -> dict[str, Source]:
        if not sources:
            raise ValueError("at least one source is needed, such as `photos: {path: ~/photos}`")
        for name in sources:
            if not name.replace("-", "").replace("_", "").isalnum():
                raise ValueError(
                    f"{name!r}: the name of a source may have letters, digits, - and _"
                )
        return sources

    @field_validator("decontaminate")
    @classmethod
    def _unique_names(cls, evaluations: tuple[Evaluation, ...]) -> tuple[Evaluation, ...]:
        names = [e.name for e in evaluations]
        if repeated := sorted({n for n in names if names.count(n) > 1}):
            raise ValueError(
                f"{', '.join(repeated)}: used more than once; names must be unique, because rules"
                " are named after them"
            )
        return evaluations

    @model_validator(mode="after")
    def _space_is_defined(self) -> "CorpusConfig":
        if self.space not in self.spaces:
            raise ValueError(
                f"space {self.space!r} is not among spaces: {', '.join(self.spaces) or 'none'}"
            )
        self.policy.check_space(self.space, self.spaces[self.space])
        return self

    @model_validator(mode="after")
    def _spaces_have_vectors(self) -> "CorpusConfig":
        for name, space in (self.spaces | self.query_spaces).items():
            if OPTION in space:
                raise ValueError(
                    f"spaces.{name}.{OPTION}: token vectors are made with `late: {{}}`, beside the"
                    " spaces; leave this key out"
                )
        return self

    @model_validator(mode="after")
    def _other_spaces_are_limited(self) -> "CorpusConfig":
        for name, space in (self.spaces | self.query_spaces).items():
            if only_for.OPTION in space and (name == self.space or name in self.query_spaces):
                raise ValueError(
                    f"spaces.{name}.{only_for.OPTION}: only a space beside the main one can be"
                    " limited to samples that the main one has chosen"
                )
            try:
                self.only_for(name)
            except ValueError as error:
                raise ValueError(f"spaces.{name}.{error}") from None
        return self

    @model_validator(mode="after")
    def _queries_name_spaces(self) -> "CorpusConfig":
        if both := sorted(self.spaces.keys() & self.query_spaces.keys()):
            raise ValueError(f"{both[0]!r} is both in spaces and in query_spaces; keep one of them")
        for name, space in self.spaces.items():
            others = [n for n in (*self.spaces, *self.query_spaces) if n != name]
            named = space.get("queries")
            by_modality = named if isinstance(named, dict) else {"": named}
            for modality, new in by_modality.items():
                if modality not in ("", *MODALITIES):
                    raise ValueError(
                        f"spaces.{name}.queries: no modality {modality!r}; allowed:"
                        f" {', '.join(MODALITIES)}"
                    )
                if new not in others and "queries" in space:
                    raise ValueError(
                        f"spaces.{name}.queries: {new!r} is no other space; spaces and"
                        f" query_spaces have: {', '.join(others) or 'none'}"
                    )
        return self

    @model_validator(mode="after")
    def _optional_pair_signals_are_measured(self) -> "CorpusConfig":
        for name in self.policy.columns():
            if name.endswith("_mismatch") and not self.pairs.mismatch:
                needed = "{mismatch: true}"
            elif name.endswith("_hubness") and not self.pairs.sentinels:
                needed = "{sentinels: 500}"
            elif name == "text_repair" and not self.pairs.repair:
                needed = "{mismatch: true, repair: true}"
            else:
                continue
            raise ValueError(f"policy.{name}: is measured only with `pairs: {needed}`; add it")
        return self

    @model_validator(mode="after")
    def _scorers_of_the_cascade_are_on(self) -> "CorpusConfig":
        cascade, on = self.policy.cascade, self.signals.switched_on()
        for name in cascade.scorers if cascade is not None else ():
            if name not in on:
                raise ValueError(
                    f"policy.cascade: {name} is not switched on under `signals:`;"
                    f" on: {', '.join(on) or 'none'}"
                )
        return self

    @model_validator(mode="after")
    def _log_is_enabled(self) -> "CorpusConfig":
        if "log" in self.corrections.query_bank and self.query_log is None:
            raise ValueError(
                "corrections.query_bank: log needs a log: add `query_log: {keep_days: 30}`, which"
                " keeps the vectors of queries for 30 days"
            )
        return self

    def only_for(self, space: str) -> Literal["kept"] | Policy | None:
        """Which samples a space embeds; see `store.config.only_for.parse_only_for`."""
        entry = self.spaces.get(space, {})
        return only_for.parse_only_for(entry, self.space, self.spaces[self.space])

    @property
    def other_spaces(self) -> list[str]:
        """The spaces beside the main one, `space`."""
        return [name for name in self.spaces if name != self.space]

    def fingerprint_scorers(self) -> list[str]:
        """The scorers of fingerprints that `duplicates` and `decontaminate` need.

        Fingerprints are most of the bytes of the table `signals`, 3.6 kB an image, so others are
        not measured.
        """
        kinds = {"image_copies": self.duplicates.image, "audio_fingerprint": self.duplicates.audio}
        needed = [name for name, bound in kinds.items() if self.decontaminate or bound is not None]
        return needed + (["image_local"] if self.duplicates.crops is not None else [])


def load(folder: str | Path) -> CorpusConfig:
    """Read and validate FOLDER/corpus.yaml.

    Raises:
        NotFoundError: there is no such file.
        ConfigError: it cannot be read, is not YAML, or has an unknown field or a value that is not
            allowed.
    """
    path = Path(folder) / FILE
    if not path.is_file():
        raise NotFoundError(
            f"no {FILE} in {folder}; `isotrope init {folder} --from SOURCE` writes one"
        )
    try:
        with path.open("rb") as file:
            # A character takes at most 4 bytes.
            content = file.read(4 * MAX_CHARACTERS + 1)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}") from error
    if len(content) > 4 * MAX_CHARACTERS:
        raise ConfigError(too_long(str(path)))
    return parse(content.decode("utf-8", errors="replace"), name=str(path))


def parse(text: str, name: str = FILE) -> CorpusConfig:
    """Validate the text of a corpus.yaml.

    Args:
        text: the content of the file.
        name: of the file, for error messages.

    Raises:
        ConfigError: see `load`.
    """
    data, tree = load_yaml(text, name)
    if not isinstance(data, dict):
        raise ConfigError(f"{name}:1: a mapping is expected, with at least `sources:`")
    try:
        return CorpusConfig.model_validate(data)
    except ValidationError as error:
        errors = error.errors()
        lines = explain(errors[:_MAX_ERRORS], CorpusConfig, tree, name)
        if len(errors) > _MAX_ERRORS:
            lines.append(f"{name}: and {len(errors) - _MAX_ERRORS:,} more errors")
        raise ConfigError("\n".join(lines)) from None
