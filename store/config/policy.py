"""corpus.yaml's `policy:`: what a sample must be to be kept, and what is selected of those.

policy:
  preset: datacomp-basic                          # rules of `store.config.presets`, to be laid over
  image_min_side: {min: 256}
  image_aesthetic: {keep_top: 0.5, by: text_language}
  caps: [{by: image_cluster, most: 50, largest: text_image_cosine}]
  sample: {share: 0.1, seed: 0}
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, PrivateAttr, model_validator

from store.config import presets
from store.config.section import PositiveInt, Section
from store.tables import schema

Share = Annotated[float, Field(gt=0, le=1)]
ROW = ("min", "max", "in", "not_in", "null")  # tests that look at one sample alone
# Their scale is the space's own, so a threshold says nothing in another one.
ABSOLUTE = tuple(n for n in schema.PAIR_TYPES if n.endswith(("_cosine", "_corrected", "_volume")))
_CLUSTERS = tuple(n for n in schema.PAIR_TYPES if n.endswith("_cluster"))


def listed(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


class Rule(Section):
    """What a signal must be for its sample to be kept.

    `keep_top` and `keep_bottom` keep that share of the samples that are left by then, those with
    the largest or smallest values, rounded up; overall, or in each group of `by`. They serve in
    every space. `min` and `max` of a similarity hold in one alone, which `made_for` names: the
    encoder of both towers (or the beginning of its spec), or a space of this corpus.

    A sample without a value passes all of these; `null: reject` is the test that it does not.
    """

    min: float | None = None
    max: float | None = None
    one_of: tuple[str, ...] | None = Field(default=None, alias="in")
    none_of: tuple[str, ...] | None = Field(default=None, alias="not_in")
    null: Literal["keep", "reject"] = "keep"
    keep_top: Share | None = None
    keep_bottom: Share | None = None
    by: str | None = None
    made_for: Annotated[tuple[str, ...], BeforeValidator(listed)] = ()

    @model_validator(mode="before")
    @classmethod
    def _null_is_a_word(cls, written: Any) -> Any:
        """YAML reads the key `null` as no key at all."""
        if not isinstance(written, Mapping):
            return written
        return {"null" if key is None else key: value for key, value in written.items()}

    @model_validator(mode="after")
    def _says_something(self) -> "Rule":
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
            raise ValueError("by: goes with keep_top or keep_bottom")
        return self

    def limits(self) -> list[tuple[str, Any]]:
        """(operator, limit) of its tests, in the order in which they are tried."""
        told = [
            ("min", self.min),
            ("max", self.max),
            ("in", self.one_of or None),
            ("not_in", self.none_of or None),
            ("null", "reject" if self.null == "reject" else None),
            ("keep_top", self.keep_top),
            ("keep_bottom", self.keep_bottom),
        ]
        return [(operator, limit) for operator, limit in told if limit is not None]


class Cap(Section):
    """At most so many samples of each group of `by`: those with the `largest` or the `smallest`
    values of a signal, else drawn by `seed`. What is in no group is left alone."""

    by: str
    most: PositiveInt
    largest: str | None = None
    smallest: str | None = None
    seed: int = 0

    @model_validator(mode="after")
    def _one_way(self) -> "Cap":
        if self.largest is not None and self.smallest is not None:
            raise ValueError("largest or smallest, not both")
        return self


class Sample(Section):
    """A random part of what is left: a `share` of it, or a `count`; overall, or of each group of
    `by`. Who is drawn depends on `seed` and the samples' ids."""

    share: Share | None = None
    count: PositiveInt | None = None
    by: str | None = None
    seed: int = 0

    @model_validator(mode="after")
    def _one_size(self) -> "Sample":
        if (self.share is None) == (self.count is None):
            raise ValueError("a sample needs share or count, and not both")
        return self


class Policy(Section):
    """Rules by signal, caps and a sample, in the order of corpus.yaml.

    Rules of presets come first, in the order in which they are named, and what is written beside
    them is laid over, test by test; `signal: null` takes a preset's rule away.
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Rule]

    preset: Annotated[tuple[str, ...], BeforeValidator(listed)] = ()
    caps: tuple[Cap, ...] = ()
    sample: Sample | None = None
    _order: tuple[str, ...] = PrivateAttr(())

    @model_validator(mode="wrap")
    @classmethod
    def _laid_over(cls, written: Any, handler: Callable[[Any], "Policy"]) -> "Policy":
        if not isinstance(written, Mapping):
            return handler(written)
        whole: dict[str, Any] = {}
        for name in _names(written.get("preset")):
            _lay(whole, presets.load(name))
        _lay(whole, written)
        made = handler(whole)
        made._order = tuple(whole)
        return made

    @model_validator(mode="after")
    def _known_signals(self) -> "Policy":
        for name, rule in self.rules.items():
            _check(name, rule)
        for cap in self.caps:
            _check_group(f"caps.{cap.by}", cap.by)
            if (signal := cap.largest or cap.smallest) is not None:
                _check_number(f"caps.{cap.by}", signal)
        if self.sample is not None and self.sample.by is not None:
            _check_group("sample", self.sample.by)
        return self

    @staticmethod
    def groups() -> list[str]:
        """What samples can be grouped by."""
        texts = [n for n, kind in schema.SIGNAL_TYPES.items() if schema.is_text(kind)]
        return ["drop", "source", *texts, *_CLUSTERS]

    @property
    def rules(self) -> dict[str, Rule]:
        """The rules by signal, in order."""
        return dict(self.model_extra or {})

    def ordered(self) -> Iterator[tuple[str, Rule | Cap | Sample]]:
        """Rules by signal, caps and the sample as they stand in corpus.yaml."""
        for name in self._order:
            if name == "caps":
                yield from ((name, cap) for cap in self.caps)
            elif name == "sample" and self.sample is not None:
                yield name, self.sample
            elif name in self.rules:
                yield name, self.rules[name]

    def columns(self) -> list[str]:
        """The signals that it is about, and what it groups by (`drop` and `source` among it)."""
        keys = ("by", "largest", "smallest")
        named = [getattr(asked, key, None) for _, asked in self.ordered() for key in keys]
        return list(dict.fromkeys([*self.rules, *(name for name in named if name)]))

    def written(self) -> dict[str, Any]:
        """As corpus.yaml would say it without presets, in order."""
        told: dict[str, Any] = {}
        for name in self._order:
            value = self.rules.get(name) or getattr(self, name, None)
            if value and name != "preset":
                told[name] = _plain(value)
        return told

    def check_space(self, name: str, space: Mapping[str, Any]) -> None:
        """Raises ValueError where a threshold was made for another space than this entry of
        `spaces`, called `name`."""
        for signal, rule in self.rules.items():
            if signal not in ABSOLUTE or (rule.min is None and rule.max is None):
                continue
            compared = [m for m in signal.split("_") if m in schema.MODALITIES]
            towers = {m: _tower(space, m) for m in compared}
            if name in rule.made_for or (
                all(any(_begins(t, wanted) for wanted in rule.made_for) for t in towers.values())
            ):
                continue
            limits = " and ".join(f"{op} {v:g}" for op, v in rule.limits() if op in ("min", "max"))
            made = " or ".join(rule.made_for)
            was = f"was made for {made}" if made else "does not say what it was made for"
            here = ", ".join(f"{m} by {t or 'an aligned tower'}" for m, t in towers.items())
            raise ValueError(
                f"policy.{signal}: {limits} {was}, but the space is {name!r} ({here}): similarities"
                f" of another space have another scale. Name what your threshold was made for, such"
                f" as made_for: {name}, or use keep_top, which serves in every space"
            )


def _names(preset: Any) -> list[str]:
    """What of `preset:` can be a name; the field's own check tells of the rest."""
    given = listed(preset)
    return [n for n in given if isinstance(n, str)] if isinstance(given, list | tuple) else []


def _lay(whole: dict[str, Any], over: Mapping[str, Any]) -> None:
    for name, value in over.items():
        below = whole.get(name)
        if value is None:
            whole.pop(name, None)
        elif isinstance(below, Mapping) and isinstance(value, Mapping) and name != "sample":
            whole[name] = {**below, **value}
        else:
            whole[name] = value


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    told = value.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    return {k: int(v) if isinstance(v, float) and v.is_integer() else v for k, v in told.items()}


def _check(name: str, rule: Rule) -> None:
    known = schema.SIGNAL_TYPES | schema.PAIR_TYPES
    kind = known.get(name)
    if kind is None:
        raise ValueError(f"{name!r} is not a signal; allowed: {', '.join(known)}")
    operators = {operator for operator, _ in rule.limits()}
    if name in _CLUSTERS and operators != {"null"}:
        raise ValueError(f"{name!r} numbers clusters: use caps: [{{by: {name}, most: 50}}]")
    if schema.is_text(kind) and operators & {"min", "max", "keep_top", "keep_bottom"}:
        raise ValueError(f"{name!r} is text: use in or not_in, not min or max")
    if not schema.is_text(kind) and operators & {"in", "not_in"}:
        raise ValueError(f"{name!r} is a number: use min or max, not in or not_in")
    if rule.made_for and name not in ABSOLUTE:
        raise ValueError(f"{name!r} is the same in every space: made_for is of similarities")
    if rule.by is not None:
        _check_group(name, rule.by)


def _check_group(where: str, by: str) -> None:
    if by not in (allowed := Policy.groups()):
        raise ValueError(f"{where}: by {by!r} is not a group; allowed: {', '.join(allowed)}")


def _check_number(where: str, name: str) -> None:
    known = schema.SIGNAL_TYPES | schema.PAIR_TYPES
    if name in _CLUSTERS or schema.is_text(known.get(name, schema.SIGNAL_TYPES["text_language"])):
        raise ValueError(f"{where}: {name!r} is not a signal with numbers")


def _tower(space: Mapping[str, Any], modality: str) -> str | None:
    """What a space's vectors of a modality are made by; None for a learned projection, which makes
    a scale of its own."""
    tower = space.get(modality, space.get("preset"))
    return tower if isinstance(tower, str) else None


def _begins(spec: str | None, wanted: str) -> bool:
    return spec is not None and (spec == wanted or spec.startswith((f"{wanted}/", f"{wanted}?")))


DEFAULT_POLICY = Policy.model_validate(
    {"image_min_side": {"min": 32}, "image_aspect": {"max": 8}, "text_chars": {"max": 2000}}
)
