"""The `corrections:` and `query_log:` sections of corpus.yaml."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from store.config.section import PositiveInt, Section, as_tuple
from store.corrections.recipe import recipe
from store.tables import schema


class Corrections(Section):
    """How corrections are fitted and selected, and how many samples are reserved for this.

    A correction is fitted on a bank of queries. It works best if these are similar to the queries
    that users will ask.

    Attributes:
        methods: the methods to compare. Default: all.
        directions: the method for a direction, such as {"image->image": csls}, instead of a
            selection. "auto" selects.
        query_bank: where bank queries come from. `corpus`: captions, images and audio of the corpus
            itself. `file`: the file in `queries`. `log`: the query log (`query_log:`). A list joins
            several. If `file` and `log` have fewer than 16 queries of a modality, the corpus's own
            queries are added, because a log starts empty. The gallery bank always comes from the
            corpus.
        queries: a file of queries (see `pipelines.banks.query_files`). Relative paths start at the
            corpus's folder.
        bank_rows: the largest number of pairs, or of queries of another origin, in a bank.
        bank_share: the share of pairs from which the bank is drawn.
        test_share: the share of pairs from which the test split is drawn. Validation pairs are
            drawn from the rest.
        drift_bound: how much the k-occurrence skewness of fresh queries may exceed that of the
            release's own queries before a refit is recommended.
        seed: of the random assignment of pairs to splits.
    """

    methods: tuple[str, ...] | None = None
    directions: dict[str, str] = Field(default_factory=dict)
    query_bank: Annotated[
        tuple[Literal["corpus", "file", "log"], ...], BeforeValidator(as_tuple), Field(min_length=1)
    ] = ("corpus",)
    queries: str | None = None
    bank_rows: PositiveInt = 10_000
    bank_share: Annotated[float, Field(gt=0, lt=1)] = 0.5
    test_share: Annotated[float, Field(gt=0, lt=1)] = 0.25
    drift_bound: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.5
    seed: int = 0

    @field_validator("methods")
    @classmethod
    def _methods_exist(cls, methods: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for name in methods or ():
            recipe(name)
        return methods

    @field_validator("directions")
    @classmethod
    def _directions_exist(cls, directions: dict[str, str]) -> dict[str, str]:
        for name, method in directions.items():
            query, _, searched = name.partition("->")
            if not {query, searched} <= set(schema.MODALITIES):
                allowed = ", ".join(schema.MODALITIES)
                raise ValueError(
                    f"{name!r}: not a direction such as text->image; modalities are {allowed}"
                )
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
    """How long the vectors of queries are kept. Texts and images of queries are never stored.

    Without this section nothing is logged; `query_log: {}` logs with the defaults. A bank that was
    drawn from the log (`query_bank: log`) keeps its vectors for as long as its release is kept.

    Attributes:
        keep_days: rows older than this are deleted.
        keep_rows: only so many of the newest rows are kept.
    """

    keep_days: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 30
    keep_rows: PositiveInt = 100_000
