"""Checks of Prometheus' alert rules and of Grafana's dashboard."""

import json
import re
from collections.abc import Iterator

import promql_parser
import yaml

from orchestration.server.metrics import Metrics
from tools.check_infra.files import INFRA, ROOT, name

_RULES = INFRA / "monitoring" / "alerts.yaml"
_DASHBOARD = INFRA / "monitoring" / "dashboard.json"
_RUNBOOK = ROOT / "docs" / "operations.md"
_DURATION = re.compile(r"(\d+(ms|[smhdwy]))+")
_SEVERITIES = ("page", "ticket")
# Metrics of other programs: kube-state-metrics, and Prometheus itself.
_OTHERS = ("kube_", "up", "container_")


def problems() -> Iterator[str]:
    """What is wrong in the rules and the dashboard."""
    own = _own_metrics()
    headings = _RUNBOOK.read_text() if _RUNBOOK.exists() else ""
    for group in yaml.safe_load(_RULES.read_text())["groups"]:
        for rule in group["rules"]:
            where = f"{name(_RULES)}: {rule['alert']}"
            yield from _expression_problems(rule["expr"], own, where)
            if not _DURATION.fullmatch(rule.get("for", "0s")):
                yield f"{where}: for: {rule['for']!r} is not a duration"
            if rule["labels"]["severity"] not in _SEVERITIES:
                yield f"{where}: severity is one of {', '.join(_SEVERITIES)}"
            if f"### {rule['alert']}\n" not in headings:
                yield f"{where}: {name(_RUNBOOK)} has no section about it"
    for panel in json.loads(_DASHBOARD.read_text())["panels"]:
        for target in panel.get("targets", []):
            query = target["expr"].replace("$__rate_interval", "5m")
            yield from _expression_problems(query, own, f"{name(_DASHBOARD)}: {panel['title']}")


def _expression_problems(expression: str, own: set[str], where: str) -> Iterator[str]:
    try:
        tree = promql_parser.parse(expression)
    except ValueError as error:
        yield f"{where}: {error}"
        return
    for metric in _metrics(tree.prettify()):
        known = metric in own or metric.startswith(_OTHERS)
        if not known:
            yield f"{where}: nothing exports the metric {metric}"


def _metrics(expression: str) -> set[str]:
    """The names of the metrics that an expression reads."""
    names = set(
        re.findall(r"\b([a-z_][a-z0-9_]*_[a-z0-9_]+|up)\b(?=\s*[\[{)\s+*/<>=-]|$)", expression)
    )
    clauses = set(re.findall(r"\b(?:by|on|without|ignoring|group_left)\s*\(([^)]*)\)", expression))
    labels = {label.strip() for clause in clauses for label in clause.split(",")}
    inside = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"", expression))
    functions = set(re.findall(r"\b(\w+)\s*\(", expression))
    return names - labels - inside - functions


def _own_metrics() -> set[str]:
    """The names that the server exports, with the suffixes of histograms and counters."""
    names = set(re.findall(r"^# TYPE (\w+)", Metrics().text().decode(), re.MULTILINE))
    return {f"{each}{suffix}" for each in names for suffix in ("", "_bucket", "_sum", "_count")}
