"""What another policy would keep: today's policy and the changed one, rule by rule."""

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import yaml

from pipelines.decisions import judge
from store.config import CorpusConfig, Rule, parse
from store.errors import ConfigError, InputError
from store.workspace import Workspace


@dataclass(frozen=True)
class Comparison:
    """Samples in all, kept, and rejected by rule, under today's policy and the changed one."""

    total: int
    kept: tuple[int, int]
    rejected: dict[str, tuple[int, int]]


def compare(workspace: Workspace, settings: tuple[str, ...]) -> Comparison:
    """Judge every sample twice; nothing is written.

    Args:
        settings: `signal.operator=value`, such as "image_min_side.min=256"; an empty value
            removes the test.

    Raises:
        InputError: a setting is not of that form.
        ConfigError: a signal or an operator is unknown, or a value is not allowed.
    """
    today = judge(workspace, workspace.config.policy)
    changed = judge(workspace, changed_policy(workspace.config, settings))
    before, after = _by_rule(today), _by_rule(changed)
    return Comparison(
        today.num_rows,
        (_kept(today), _kept(changed)),
        {rule: (before.get(rule, 0), after.get(rule, 0)) for rule in sorted({*before, *after})},
    )


def changed_policy(config: CorpusConfig, settings: tuple[str, ...]) -> dict[str, Rule]:
    """The policy of corpus.yaml with settings laid over it, validated like the file."""
    policy = {
        name: rule.model_dump(by_alias=True, exclude_defaults=True)
        for name, rule in config.policy.items()
    }
    for setting in settings:
        name, found, value = setting.partition("=")
        signal, dot, operator = name.strip().rpartition(".")
        if not found or not dot:
            raise InputError(
                f"--set {setting!r}: signal.operator=value is expected, such as"
                " image_min_side.min=256"
            )
        rule = policy.setdefault(signal, {})
        rule.pop(operator, None)
        if value.strip():
            rule[operator] = yaml.safe_load(value)
        if not rule:
            del policy[signal]
    plain = {"sources": {"any": {"path": "."}}, "policy": _lists(policy)}
    try:
        return parse(yaml.safe_dump(plain), name="--set").policy
    except ConfigError as error:
        raise ConfigError(str(error).replace("--set:1: ", "--set: ")) from None


def _lists(policy: dict) -> dict:
    return {
        signal: {op: list(v) if isinstance(v, tuple) else v for op, v in rule.items()}
        for signal, rule in policy.items()
    }


def _kept(decided: pa.Table) -> int:
    return pc.sum(decided["keep"].cast(pa.int64())).as_py() or 0


def _by_rule(decided: pa.Table) -> dict[str, int]:
    rules = pc.value_counts(pc.drop_null(decided["rule"].combine_chunks()))
    return {r["values"]: r["counts"] for r in rules.to_pylist()}
