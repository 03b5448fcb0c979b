"""The steps of a policy: rules by signal, caps, concepts, a coreset and a random sample."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from store.config.section import Names, PositiveInt, Section
from store.tables.schema import MODALITIES

IMAGENET = "imagenet"
Share = Annotated[float, Field(gt=0, le=1)]


class Rule(Section):
    """The tests that the value of one signal must pass for the sample to be kept.

    A sample without a value passes all tests except `null: reject`.

    `keep_top` and `keep_bottom` are valid in every space. `min` and `max` of a similarity are valid
    in one space only, which `made_for` names.

    Attributes:
        min: the smallest allowed value.
        max: the largest allowed value.
        one_of: the allowed values of a text signal. The key in corpus.yaml is `in`.
        none_of: the forbidden values of a text signal. The key in corpus.yaml is `not_in`.
        null: whether a sample without a value is kept.
        keep_top: keep this share, rounded up, of the samples that passed the earlier steps: those
            with the largest values.
        keep_bottom: the same with the smallest values.
        by: apply `keep_top` or `keep_bottom` in each group of this column, instead of overall.
        made_for: where `min` and `max` of a similarity are valid: the encoder of both towers (or
            the beginning of its spec), or the name of a space of this corpus.
    """

    min: float | None = None
    max: float | None = None
    one_of: tuple[str, ...] | None = Field(default=None, alias="in")
    none_of: tuple[str, ...] | None = Field(default=None, alias="not_in")
    null: Literal["keep", "reject"] = "keep"
    keep_top: Share | None = None
    keep_bottom: Share | None = None
    by: str | None = None
    made_for: Names = ()

    @model_validator(mode="before")
    @classmethod
    def _name_null_key(cls, value: Any) -> Any:
        """YAML parses the key `null` as None, not as a string."""
        if not isinstance(value, Mapping):
            return value
        return {"null" if key is None else key: each for key, each in value.items()}

    @model_validator(mode="after")
    def _tests_fit_together(self) -> "Rule":
        if not self.limits():
            raise ValueError(
                "a rule needs at least one of min, max, in, not_in, keep_top, keep_bottom,"
                " null: reject"
            )
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min} is above max {self.max}: nothing would be kept")
        if self.keep_top is not None and self.keep_bottom is not None:
            raise ValueError("keep_top or keep_bottom, not both: use min or max for the other end")
        if self.by is not None and self.keep_top is None and self.keep_bottom is None:
            raise ValueError("by: needs keep_top or keep_bottom")
        return self

    def limits(self) -> list[tuple[str, Any]]:
        """(operator, limit) of the tests, in the order in which they are applied."""
        limits = [
            ("min", self.min),
            ("max", self.max),
            ("in", self.one_of or None),
            ("not_in", self.none_of or None),
            ("null", "reject" if self.null == "reject" else None),
            ("keep_top", self.keep_top),
            ("keep_bottom", self.keep_bottom),
        ]
        return [(operator, limit) for operator, limit in limits if limit is not None]


class Cap(Section):
    """The largest number of samples to keep of each group. Samples without a group are kept.

    Attributes:
        by: the column of groups.
        most: the largest number of samples of a group.
        largest: keep the samples with the largest values of this signal.
        smallest: keep the samples with the smallest values of this signal.
        seed: of the random choice, if neither `largest` nor `smallest` is given.
    """

    by: str
    most: PositiveInt
    largest: str | None = None
    smallest: str | None = None
    seed: int = 0

    @model_validator(mode="after")
    def _one_order(self) -> "Cap":
        if self.largest is not None and self.smallest is not None:
            raise ValueError("largest or smallest, not both")
        return self


class Sample(Section):
    """A random sample of what passed the earlier steps. It depends on `seed` and sample ids only.

    Attributes:
        share: keep this share.
        count: keep this number.
        by: draw `share` or `count` from each group of this column, instead of overall.
        seed: of the random choice.
    """

    share: Share | None = None
    count: PositiveInt | None = None
    by: str | None = None
    seed: int = 0

    @model_validator(mode="after")
    def _one_size(self) -> "Sample":
        if (self.share is None) == (self.count is None):
            raise ValueError("a sample needs share or count, and not both")
        return self


def _known(modalities: tuple[str, ...]) -> tuple[str, ...]:
    if unknown := [m for m in modalities if m not in MODALITIES]:
        raise ValueError(f"no modality {unknown[0]!r}; allowed: {', '.join(MODALITIES)}")
    return modalities


Modalities = Annotated[Names, AfterValidator(_known)]


class Coreset(Section):
    """The samples that represent the others best, of what passed the earlier steps.

    Attributes:
        share: keep this share.
        count: keep this number.
        method: `facility_location` keeps samples to which the others are most similar on average;
            `k_center` keeps samples so that no other is far from all of them.
        modalities: whose vectors are compared, each by itself; none: all of the corpus's space.
    """

    share: Share | None = None
    count: PositiveInt | None = None
    method: Literal["facility_location", "k_center"] = "facility_location"
    modalities: Modalities = ()

    @model_validator(mode="after")
    def _one_size(self) -> "Coreset":
        if (self.share is None) == (self.count is None):
            raise ValueError("a coreset needs share or count, and not both")
        return self


class Concepts(Section):
    """Balance over concepts that samples have: rare ones keep all their samples.

    Attributes:
        names: `imagenet` for the names of ImageNet's classes, or a file with one name a line, or
            WordNet's `index.noun`. Relative paths start at the corpus's folder.
        match: a sample has the concepts that its caption names, those nearest to it by `vectors`,
            or `both`.
        nearest: by vectors, how many concepts each part of a sample has.
        modalities: by vectors, of which parts; none: all of the corpus's space.
        most: about how many samples of each concept are kept.
        tail: choose `most` so that the concepts with fewer samples have this share of all matches.
        unmatched: whether samples without a concept are kept.
        seed: of the random choice.
    """

    names: Annotated[str, Field(min_length=1)]
    match: Literal["names", "vectors", "both"] = "names"
    nearest: Annotated[int, Field(ge=1, le=20)] = 1
    modalities: Modalities = ()
    most: PositiveInt | None = None
    tail: Annotated[float, Field(gt=0, lt=1)] | None = None
    unmatched: Literal["keep", "reject"] = "keep"
    seed: int = 0

    @model_validator(mode="after")
    def _one_threshold(self) -> "Concepts":
        if (self.most is None) == (self.tail is None):
            raise ValueError("concepts need most or tail, and not both")
        return self

    @property
    def matching(self) -> tuple[Any, ...]:
        """What the matches depend on, beside the samples."""
        settings = (self.nearest, self.modalities) if self.by_vectors else ()
        return self.names, self.match, *settings

    @property
    def by_vectors(self) -> bool:
        """Whether samples are matched by vectors, alone or too."""
        return self.match != "names"
