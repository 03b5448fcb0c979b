"""What the explorer shows of the curation: problems, charts of signals, another policy.

Everything is read from the tables, and nothing is written.
"""

from collections.abc import Sequence

import yaml

from pipelines.policy.whatif import changed_policy, compare_policies
from pipelines.reports.curation.answers import Alternative, Overview, Problem, RuleChange
from pipelines.reports.curation.charts import charts
from pipelines.reports.curation.runs import stage_runs
from pipelines.reports.outcomes import read_outcomes, total_by_rule, with_keys
from store.config.policy import SPACE_DEPENDENT, Policy
from store.errors import ConfigError, InputError
from store.tables.names import pairs_table
from store.workspace import Workspace

_kept: tuple[tuple[str, ...], Overview] | None = None  # the last one, and its state
_SEVERITY = ("failed", "unmeasured", "rejected")


def overview(workspace: Workspace) -> Overview:
    """The curation of a corpus. It is kept until a table or the policy changes."""
    global _kept
    kept, state = _kept, _state(workspace)
    if kept is None or kept[0] != state:
        _kept = kept = state, _read_overview(workspace)
    return kept[1]


def _state(workspace: Workspace) -> tuple[str, ...]:
    """What an overview depends on: the versions of the tables, and the policy."""
    tables, config = workspace.tables, workspace.config
    names = ("samples", "signals", pairs_table(config.space), "ledger", "decisions", "stages")
    versions = (f"{name} {tables.version(name)}" for name in names if tables.exists(name))
    return tables.root, _yaml(config.policy), *versions


def _read_overview(workspace: Workspace) -> Overview:
    """Read the curation."""
    outcomes = read_outcomes(workspace)
    totals = with_keys(workspace.tables, total_by_rule(outcomes.reasons))
    problems = [
        Problem(
            t.stage,
            t.outcome,
            t.rule,
            t.records,
            t.example.key,
            t.example.value,
            t.example.threshold,
            t.example.error,
        )
        for t in sorted(totals, key=lambda t: (_SEVERITY.index(t.outcome), -t.records))
    ]
    kept = sum(outcomes.kept.values())
    decided = (r.records for r in outcomes.reasons if r.stage == "decisions")
    return Overview(
        kept,
        sum(decided),
        _yaml(workspace.config.policy),
        problems,
        stage_runs(workspace),
        *charts(workspace, outcomes.thresholds),
    )


def alternative(workspace: Workspace, settings: Sequence[str]) -> Alternative:
    """Apply another policy to every sample.

    Args:
        workspace: the corpus.
        settings: changes of the policy, as `pipelines.policy.whatif.changed_policy` takes them.
            They come from a stranger, so they must not name files, as `concepts.names` would.

    Raises:
        InputError: a change is not allowed.
        NotFoundError: see `compare_policies`.
    """
    changes = (*settings, *_made_for(workspace, settings))
    try:
        policy = changed_policy(workspace.config, changes)
    except ConfigError as error:
        raise InputError(str(error)) from error
    compared = compare_policies(workspace, changes)
    return Alternative(
        compared.total,
        *compared.kept,
        [RuleChange(rule, *counts) for rule, counts in compared.rejected.items()],
        _yaml(policy),
    )


def _made_for(workspace: Workspace, settings: Sequence[str]) -> list[str]:
    """Settings that name the corpus's space for new limits on similarities, which need it."""
    rules = workspace.config.policy.rules
    parts = (setting.partition("=") for setting in settings)
    limited = {name.rpartition(".")[0] for name, _, value in parts if value}
    return [
        f"{signal}.made_for={workspace.config.space}"
        for signal in SPACE_DEPENDENT
        if signal in limited and not (signal in rules and rules[signal].made_for)
    ]


def _yaml(policy: Policy) -> str:
    written = {"policy": policy.written()}
    return yaml.safe_dump(written, sort_keys=False, default_flow_style=None, allow_unicode=True)
