"""corpus.yaml: the one configuration file, validated before anything runs.

Every error names the line, the field, the value that was given and what is allowed.
"""

from pathlib import Path
from typing import Any

import yaml
from pydantic import (
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from store.config.corrections import Corrections, QueryLog
from store.config.duplicates import Duplicates, Evaluation
from store.config.engine import Engine
from store.config.limits import Limits
from store.config.policy import DEFAULT_POLICY, Policy
from store.config.section import Section
from store.config.signals import Pairs, Signals
from store.config.sources import Errors, Source
from store.config.yaml_errors import explain
from store.errors import ConfigError, NotFoundError

FILE = "corpus.yaml"


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
