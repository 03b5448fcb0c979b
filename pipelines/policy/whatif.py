"""Compare the current policy with a changed one: what each keeps, by rule and by group."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import yaml

from pipelines.policy.cascade_cost import CascadeCost, cascade_costs
from pipelines.policy.concept_balance import head_and_tail
from pipelines.policy.groups import group_rows
from pipelines.policy.judge import gather_evidence, judge
from pipelines.policy.verdicts import Verdicts
from store.config.corpus_yaml import CorpusConfig, parse
from store.config.policy import Policy
from store.config.yaml_loader import load_yaml
from store.errors import ConfigError, InputError
from store.html_table import html_table
from store.workspace import Workspace


@dataclass(frozen=True)
class Comparison:
    """Numbers of samples under the current policy and a changed one, in this order.

    Attributes:
        total: all samples.
        kept: those that each policy keeps.
        repaired: those of the kept ones that get another caption.
        rejected: those that each policy rejects, by rule.
        by: the column that names the groups.
        groups: all samples of each group, and those that each policy keeps. The key None is for
            samples without a value in the column.
        concepts: matches of all samples, and of those that each policy keeps, by concept; if a
            policy has `concepts`, the head, the tail and the most frequent ones.
        figures: measures of steps under each policy, None without the step. With a coreset, for
            each modality how similar on average a sample is to the kept one that represents it.
        cascade: what the scorers of the changed policy's cascade cost, save and lose.
    """

    total: int
    kept: tuple[int, int]
    repaired: tuple[int, int]
    rejected: dict[str, tuple[int, int]]
    by: str
    groups: dict[str | None, tuple[int, int, int]]
    concepts: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    figures: dict[str, tuple[float | None, float | None]] = field(default_factory=dict)
    cascade: dict[str, CascadeCost] = field(default_factory=dict)

    def _repr_html_(self) -> str:
        """The numbers in a notebook."""
        rows = [("kept", *self.kept), *((f"rejected by {r}", *n) for r, n in self.rejected.items())]
        for name, (_, today, then) in self.groups.items():
            rows.append((f"kept where {self.by} is {name}", today, then))
        return html_table(f"{self.total:,} samples", ("", "today", "then"), rows)


def compare_policies(
    workspace: Workspace,
    settings: tuple[str, ...] = (),
    preset: str | None = None,
    by: str = "drop",
) -> Comparison:
    """Apply both policies to every sample; nothing is written.

    Args:
        settings: changes, as `changed_policy` takes them.
        preset: a preset to start from, as `changed_policy` takes it.
        by: the column that names the groups: `drop`, `source`, or a text signal or cluster.

    Raises:
        InputError: a setting is not of the form `signal.operator=value`, or `by` is not a group.
        ConfigError: a signal or an operator is unknown, or a value is not allowed.
        NotFoundError: a policy names signals of pairs that have not been measured yet.
    """
    current = workspace.config.policy
    changed = changed_policy(workspace.config, settings, preset)
    if by not in Policy.groups():
        raise InputError(
            f"--by {by}: samples cannot be grouped by it; allowed: {', '.join(Policy.groups())}"
        )
    evidence = gather_evidence(workspace, [current, changed], [by])
    group = np.zeros(evidence.samples.num_rows, np.int32)
    names = group_rows(evidence.samples[by], group)
    counts = [Verdicts(len(group)).kept_by(group, len(names))]  # all samples
    kept, repaired, rejected, rows, figures = [], [], [], [], []
    for policy in (current, changed):
        verdicts = judge(evidence, policy)
        counts.append(verdicts.kept_by(group, len(names)))
        kept.append(int(counts[-1].sum()))
        repaired.append(_count_repaired(evidence.samples, verdicts) if policy.repairs else 0)
        rejected.append(verdicts.counts())
        rows.append(verdicts.kept)
        figures.append(verdicts.figures)
    before, after = rejected
    step = changed.concepts or current.concepts
    by_group = zip(names, *(c.tolist() for c in counts), strict=True)
    return Comparison(
        len(group),
        (kept[0], kept[1]),
        (repaired[0], repaired[1]),
        {rule: (before.get(rule, 0), after.get(rule, 0)) for rule in sorted({*before, *after})},
        by,
        {name: (n, first, second) for name, n, first, second in by_group if n},
        head_and_tail(step, evidence.matches[step.matching], (rows[0], rows[1])) if step else {},
        {
            name: (figures[0].get(name), figures[1].get(name))
            for name in sorted({*figures[0], *figures[1]})
        },
        cascade_costs(workspace, changed),
    )


def _count_repaired(samples: pa.Table, verdicts: Verdicts) -> int:
    has_proposal = np.asarray(pc.is_valid(samples["text_repair"]))
    return int((has_proposal & verdicts.kept).sum())


def changed_policy(
    config: CorpusConfig, settings: tuple[str, ...] = (), preset: str | None = None
) -> Policy:
    """Change the current policy, or a preset; the result is validated like corpus.yaml.

    Args:
        settings: `signal.operator=value`, such as "image_min_side.min=256", `caps.GROUP=most` or
            `sample.share=0.1`. An empty value removes the test.
        preset: the preset to start from; None for the current policy.

    Raises:
        InputError: a setting is not of that form.
        ConfigError: a signal, an operator or a preset is unknown, or a value is not allowed.
    """
    written: dict[str, Any] = {"preset": [preset]} if preset else config.policy.written()
    if preset:
        written = _parsed(config, written).written()
    for setting in settings:
        name, equals, value = setting.partition("=")
        section, dot, operator = name.strip().rpartition(".")
        if not equals or not dot:
            raise InputError(
                f"--set {setting!r}: signal.operator=value is expected, such as"
                " image_min_side.min=256"
            )
        try:
            parsed, _ = load_yaml(value, "value")
        except ConfigError as error:
            raise InputError(f"--set {setting!r}: {error}") from None
        if section == "caps":
            _set_cap(written, operator, parsed)
            continue
        tests = written.setdefault(section, {})
        tests.pop(operator, None)
        if parsed is not None:
            tests[operator] = parsed
        if not tests:
            del written[section]
    return _parsed(config, written)


def _set_cap(written: dict[str, Any], by: str, most: Any) -> None:
    """Set the cap of a group, or remove it if `most` is None."""
    caps = written.setdefault("caps", [])
    matches = [cap for cap in caps if cap["by"] == by]
    for cap in matches:
        cap["most"] = most
    if not matches:
        caps.append({"by": by, "most": most})
    written["caps"] = [cap for cap in caps if cap["most"] is not None]


def _parsed(config: CorpusConfig, written: Mapping[str, Any]) -> Policy:
    """Validate a policy within a minimal corpus.yaml. Errors name no lines: there is no file."""
    towers = {k: v for k, v in config.spaces[config.space].items() if k != "queries"}
    minimal = {
        "sources": {"any": {"path": "."}},
        "space": config.space,
        "spaces": {config.space: towers},
        "pairs": config.pairs.model_dump(),
        "signals": config.signals.model_dump(mode="json", by_alias=True),
        "policy": dict(written),
    }
    try:
        return parse(yaml.safe_dump(minimal, sort_keys=False), name="--set").policy
    except ConfigError as error:
        lines = str(error).splitlines()
        raise ConfigError("\n".join(line.partition(": ")[2] for line in lines)) from None
