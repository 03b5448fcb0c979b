"""The `policy:` section of corpus.yaml: which samples are kept.

policy:
  preset: datacomp-basic                          # rules of `store.config.presets`
  image_min_side: {min: 256}                      # replaces the test of the preset
  image_aesthetic: {keep_top: 0.5, by: text_language}
  caps: [{by: image_cluster, most: 50, largest: text_image_cosine}]
  sample: {share: 0.1, seed: 0}
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pydantic import ConfigDict, PrivateAttr, model_validator

from store.config import presets
from store.config.cascade import Cascade
from store.config.rules import Cap, Concepts, Coreset, Rule, Sample
from store.config.section import Names, Section, as_tuple
from store.html_table import html_table
from store.tables import schema

ROW_OPERATORS = ("min", "max", "in", "not_in", "null")  # tests that need one sample only
# Signals whose values are comparable only within one space.
SPACE_DEPENDENT = tuple(
    n for n in schema.PAIR_TYPES if n.endswith(("_cosine", "_corrected", "_volume"))
)
_CLUSTERS = tuple(n for n in schema.PAIR_TYPES if n.endswith("_cluster"))


class Policy(Section):
    """Rules by signal, caps, concepts, a coreset and a sample, applied in the order of corpus.yaml.

    Rules of presets come first, in the order of the presets. The rules in corpus.yaml are laid over
    them, test by test. `signal: null` removes the rule of a preset.
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Rule]

    preset: Names = ()
    caps: tuple[Cap, ...] = ()
    concepts: Concepts | None = None
    coreset: Coreset | None = None
    sample: Sample | None = None
    cascade: Cascade | None = None
    _order: tuple[str, ...] = PrivateAttr(())

    @model_validator(mode="wrap")
    @classmethod
    def _merge_presets(cls, value: Any, handler: Callable[[Any], "Policy"]) -> "Policy":
        if not isinstance(value, Mapping):
            return handler(value)
        merged: dict[str, Any] = {}
        for name in _preset_names(value.get("preset")):
            _lay_over(merged, presets.load(name))
        _lay_over(merged, value)
        policy = handler(merged)
        policy._order = tuple(merged)
        return policy

    @model_validator(mode="after")
    def _signals_exist(self) -> "Policy":
        for name, rule in self.rules.items():
            _check_rule(name, rule)
        for cap in self.caps:
            _check_group(f"caps.{cap.by}", cap.by)
            if (signal := cap.largest or cap.smallest) is not None:
                _check_number(f"caps.{cap.by}", signal)
        if self.sample is not None and self.sample.by is not None:
            _check_group("sample", self.sample.by)
        return self

    @staticmethod
    def groups() -> list[str]:
        """The columns by which samples can be grouped."""
        texts = [n for n, kind in schema.SIGNAL_TYPES.items() if schema.is_text(kind)]
        return ["drop", "source", *texts, *_CLUSTERS]

    @property
    def rules(self) -> dict[str, Rule]:
        """The rules by signal, in order."""
        return dict(self.model_extra or {})

    @property
    def repairs(self) -> bool:
        """Whether captions are replaced: by `text_repair: {min: ...}`."""
        rule = self.rules.get("text_repair")
        return rule is not None and rule.min is not None

    @property
    def compares_vectors(self) -> bool:
        """Whether a step reads the vectors of samples."""
        by_vectors = self.concepts is not None and self.concepts.by_vectors
        return by_vectors or self.coreset is not None

    def ordered(self) -> Iterator[tuple[str, Rule | Cap | Concepts | Coreset | Sample]]:
        """All steps with their names, in order. The name of a rule is its signal."""
        for name in self._order:
            if name == "caps":
                yield from ((name, cap) for cap in self.caps)
            elif name == "concepts" and self.concepts is not None:
                yield name, self.concepts
            elif name == "coreset" and self.coreset is not None:
                yield name, self.coreset
            elif name == "sample" and self.sample is not None:
                yield name, self.sample
            elif name in self.rules:
                yield name, self.rules[name]

    def columns(self) -> list[str]:
        """The signals that the policy reads, the columns by which it groups samples (which may be
        `drop` and `source`), and `cascade` if it rejects samples by predictions."""
        keys = ("by", "largest", "smallest")
        named = [getattr(step, key, None) for _, step in self.ordered() for key in keys]
        named += ["cascade"] if self.cascade is not None and self.cascade.loss is not None else []
        return list(dict.fromkeys([*self.rules, *(name for name in named if name)]))

    def written(self) -> dict[str, Any]:
        """The policy as a section of corpus.yaml without presets, in order."""
        section: dict[str, Any] = {}
        for name in self._order:
            value = self.rules.get(name) or getattr(self, name, None)
            if value and name != "preset":
                section[name] = _plain(value)
        return section

    def _repr_html_(self) -> str:
        """The steps in a notebook, in order."""
        return html_table("policy", ("step", "keeps"), self.written().items())

    def check_space(self, name: str, space: Mapping[str, Any]) -> None:
        """Check that thresholds of similarities were made for a space.

        Args:
            name: of the space.
            space: its entry in `spaces`.

        Raises:
            ValueError: a threshold was made for another space, or does not say for which.
        """
        for signal, rule in self.rules.items():
            if signal not in SPACE_DEPENDENT or (rule.min is None and rule.max is None):
                continue
            modalities = [m for m in signal.split("_") if m in schema.MODALITIES]
            towers = {m: _encoder(space, m) for m in modalities}
            if name in rule.made_for or all(
                any(_starts_with(encoder, spec) for spec in rule.made_for)
                for encoder in towers.values()
            ):
                continue
            limits = " and ".join(f"{op} {v:g}" for op, v in rule.limits() if op in ("min", "max"))
            made_for = " or ".join(rule.made_for)
            origin = f"was made for {made_for}" if made_for else "does not say what it was made for"
            encoders = ", ".join(f"{m} by {e or 'an aligned tower'}" for m, e in towers.items())
            raise ValueError(
                f"policy.{signal}: {limits} {origin}, but the space is {name!r} ({encoders}):"
                " similarities of another space have another scale. Say what your threshold was"
                f" made for, such as made_for: {name}, or use keep_top, which is valid in every"
                " space"
            )


def _preset_names(preset: Any) -> list[str]:
    """The strings in `preset:`. The validation of the field reports everything else."""
    names = as_tuple(preset)
    return [n for n in names if isinstance(n, str)] if isinstance(names, list | tuple) else []


def _lay_over(section: dict[str, Any], upper: Mapping[str, Any]) -> None:
    """Update a policy section: rules are merged test by test, other entries are replaced."""
    for name, value in upper.items():
        lower = section.get(name)
        if value is None:
            section.pop(name, None)
        elif (
            isinstance(lower, Mapping)
            and isinstance(value, Mapping)
            and name not in ("concepts", "coreset", "sample", "cascade")
        ):
            section[name] = {**lower, **value}
        else:
            section[name] = value


def _plain(value: Any) -> Any:
    """A step, or a tuple of steps, as it is written in corpus.yaml."""
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    dump = value.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    return {k: int(v) if isinstance(v, float) and v.is_integer() else v for k, v in dump.items()}


def _check_rule(name: str, rule: Rule) -> None:
    types = schema.SIGNAL_TYPES | schema.PAIR_TYPES
    data_type = types.get(name)
    if data_type is None:
        raise ValueError(f"{name!r} is not a signal; allowed: {', '.join(types)}")
    operators = {operator for operator, _ in rule.limits()}
    if name in _CLUSTERS and operators != {"null"}:
        raise ValueError(f"{name!r} is a number of a cluster: use caps: [{{by: {name}, most: 50}}]")
    if schema.is_text(data_type) and operators & {"min", "max", "keep_top", "keep_bottom"}:
        raise ValueError(f"{name!r} is text: use in or not_in, not min or max")
    if not schema.is_text(data_type) and operators & {"in", "not_in"}:
        raise ValueError(f"{name!r} is a number: use min or max, not in or not_in")
    if rule.made_for and name not in SPACE_DEPENDENT:
        raise ValueError(f"{name!r} is the same in every space: made_for is only for similarities")
    if rule.by is not None:
        _check_group(name, rule.by)


def _check_group(step: str, by: str) -> None:
    if by not in (allowed := Policy.groups()):
        raise ValueError(f"{step}: by {by!r} is not a group; allowed: {', '.join(allowed)}")


def _check_number(step: str, name: str) -> None:
    data_type = (schema.SIGNAL_TYPES | schema.PAIR_TYPES).get(name)
    if data_type is None or name in _CLUSTERS or schema.is_text(data_type):
        raise ValueError(f"{step}: {name!r} is not a numeric signal")


def _encoder(space: Mapping[str, Any], modality: str) -> str | None:
    """The encoder of a modality in a space. None for a learned projection: it has its own scale of
    similarities."""
    tower = space.get(modality, space.get("preset"))
    return tower if isinstance(tower, str) else None


def _starts_with(encoder: str | None, spec: str) -> bool:
    """Whether a spec in `made_for` names this encoder, with or without weights and options."""
    return encoder is not None and (encoder == spec or encoder.startswith((f"{spec}/", f"{spec}?")))


DEFAULT_POLICY = Policy.model_validate(
    {"image_min_side": {"min": 32}, "image_aspect": {"max": 8}, "text_chars": {"max": 2000}}
)
