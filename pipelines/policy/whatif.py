"""What another policy would keep: today's policy and the changed one, by rule and by group."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from pipelines.policy.judge import gather, judge
from pipelines.policy.quotas import groups
from pipelines.policy.verdicts import Verdicts
from store.config.corpus_yaml import CorpusConfig, parse
from store.config.policy import Policy
from store.config.yaml_loader import load_yaml
from store.errors import ConfigError, InputError
from store.workspace import Workspace


@dataclass(frozen=True)
class Comparison:
    """Samples under today's policy and the changed one.

    Args:
        total: samples in all.
        kept: how many are kept, today and then.
        rejected: how many each rule rejects.
        by: what `groups` are of.
        groups: how many samples each has, and how many of them are kept; None is of those that
            have no such group.
    """

    total: int
    kept: tuple[int, int]
    rejected: dict[str, tuple[int, int]]
    by: str
    groups: dict[str | None, tuple[int, int, int]]


def compare(
    workspace: Workspace,
    settings: tuple[str, ...] = (),
    preset: str | None = None,
    by: str = "drop",
) -> Comparison:
    """Judge every sample twice; nothing is written.

    Args:
        settings: as `changed_policy` takes them, and `preset` too.
        by: `drop`, `source`, a text signal or a cluster.

    Raises:
        InputError: a setting is not of that form, or `by` is no group.
        ConfigError: a signal or an operator is unknown, or a value is not allowed.
        NotFoundError: signals of pairs are asked for that are yet to be measured.
    """
    today = workspace.config.policy
    then = changed_policy(workspace.config, settings, preset)
    if by not in Policy.groups():
        raise InputError(f"--by {by}: not a group; allowed: {', '.join(Policy.groups())}")
    evidence = gather(workspace, [today, then], [by])
    group, names = groups(evidence.samples[by])
    counts = [Verdicts(len(group)).by(group, len(names))]
    kept, rejected = [], []
    for policy in (today, then):
        verdicts = judge(evidence, policy)
        counts.append(verdicts.by(group, len(names)))
        kept.append(int(counts[-1].sum()))
        rejected.append(verdicts.counts())
    before, after = rejected
    found = zip(names, *(c.tolist() for c in counts), strict=True)
    return Comparison(
        len(group),
        (kept[0], kept[1]),
        {rule: (before.get(rule, 0), after.get(rule, 0)) for rule in sorted({*before, *after})},
        by,
        {name: (n, one, two) for name, n, one, two in found if n},
    )


def changed_policy(
    config: CorpusConfig, settings: tuple[str, ...] = (), preset: str | None = None
) -> Policy:
    """Today's policy, or a preset, with settings laid over it, validated like the file.

    Args:
        settings: `signal.operator=value`, such as "image_min_side.min=256", `caps.GROUP=most` or
            `sample.share=0.1`; an empty value removes the test.
    """
    written: dict[str, Any] = {"preset": [preset]} if preset else config.policy.written()
    if preset:
        written = _parsed(config, written).written()
    for setting in settings:
        name, found, value = setting.partition("=")
        section, dot, operator = name.strip().rpartition(".")
        if not found or not dot:
            raise InputError(
                f"--set {setting!r}: signal.operator=value is expected, such as"
                " image_min_side.min=256"
            )
        try:
            given, _ = load_yaml(value, "value")
        except ConfigError as error:
            raise InputError(f"--set {setting!r}: {error}") from None
        if section == "caps":
            _cap(written, operator, given)
            continue
        tests = written.setdefault(section, {})
        tests.pop(operator, None)
        if given is not None:
            tests[operator] = given
        if not tests:
            del written[section]
    return _parsed(config, written)


def _cap(written: dict[str, Any], by: str, most: Any) -> None:
    caps = written.setdefault("caps", [])
    known = [cap for cap in caps if cap["by"] == by]
    for cap in known:
        cap["most"] = most
    if not known:
        caps.append({"by": by, "most": most})
    written["caps"] = [cap for cap in caps if cap["most"] is not None]


def _parsed(config: CorpusConfig, written: Mapping[str, Any]) -> Policy:
    plain = {
        "sources": {"any": {"path": "."}},
        "space": config.space,
        "spaces": {config.space: config.spaces[config.space]},
        "policy": dict(written),
    }
    try:
        return parse(yaml.safe_dump(plain, sort_keys=False), name="--set").policy
    except ConfigError as error:
        lines = str(error).splitlines()
        raise ConfigError("\n".join(line.partition(": ")[2] for line in lines)) from None
