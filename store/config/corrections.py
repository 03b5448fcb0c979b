"""The `corrections:` and `query_log:` sections of corpus.yaml."""

from typing import Annotated, Literal

from pydantic import (
    BeforeValidator,
    Field,
    field_validator,
    model_validator,
)

from store.config.policy import listed
from store.config.section import PositiveInt, Section
from store.corrections.recipe import recipe
from store.tables import schema


class Corrections(Section):
    """What a release may choose from, and how much of the corpus it sets aside to choose with.

    A correction is measured on a bank of queries, and it is as good as they are like those that
    are going to be asked. `query_bank` says where they come from: `corpus` takes captions and
    pictures of the corpus itself, which need nobody and nothing; `file` takes `queries` (see
    `banks.query_files`), for who knows what will be asked; `log` takes what has been asked
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
