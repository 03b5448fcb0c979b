"""Commands that look after the tables: check, maintain."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click
from rich.markup import escape
from rich.table import Table

from orchestration.cli.console import console, print_json, print_next
from orchestration.cli.options import AS_JSON, CORPUS, example
from store.errors import DamagedTableError
from store.workspace import Workspace

if TYPE_CHECKING:
    from store.tables.check import Finding
    from store.tables.maintain import Maintained


@click.command(epilog=example("isotrope check --deep --corpus corpus"))
@CORPUS
@click.option("--deep", is_flag=True, help="Also read every data file as a whole.")
@AS_JSON
@click.option("--mark-stale", is_flag=True, help="Let `isotrope run` make failed stages again.")
def check(folder: str, deep: bool, as_json: bool, mark_stale: bool) -> None:
    """Check that all tables can be read and hold what their records say.

    The exit code is 1 if a check failed. Nothing is changed without --mark-stale.
    """
    from assets import corpus_check

    workspace = Workspace.open(folder)
    findings = list(corpus_check.check_corpus(workspace, deep))
    failed = [finding for finding in findings if not finding.passed]
    marked = corpus_check.mark_stale(workspace, failed) if mark_stale and failed else []
    if as_json:
        rows = [asdict(finding) | {"passed": finding.passed} for finding in findings]
        click.echo(json.dumps({"passed": not failed, "marked_stale": marked, "checks": rows}))
    else:
        _print(findings)
        if marked:
            console.print(f"marked as stale: {', '.join(marked)}")
        print_next("run" if marked else "repair" if failed else "status", folder=folder)
    if failed:
        raise click.exceptions.Exit(1)


class _Period(click.ParamType):
    name = "period"
    _UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}  # noqa: RUF012

    def convert(self, value: Any, param: Any, ctx: Any) -> timedelta:
        """Read a number and a unit, such as 90m."""
        if isinstance(value, timedelta):
            return value
        number, unit = value[:-1], value[-1:]
        if not number.isdecimal() or unit not in self._UNITS:
            self.fail(f"{value!r} is not a period; write 30m, 12h or 7d", param, ctx)
        return timedelta(seconds=int(number) * self._UNITS[unit])


@click.command(epilog=example("isotrope maintain --older-than 7d"))
@CORPUS
@click.option(
    "--older-than",
    type=_Period(),
    default="1h",
    show_default=True,
    help="Keep versions that were the newest within this period: 30m, 12h, 7d.",
)
@AS_JSON
def maintain(folder: str, older_than: timedelta, as_json: bool) -> None:
    """Compact tables; delete old versions, stale staging, lost vectors.

    Versions of kept releases and of running stages stay. It may run beside runs and searches.
    """
    from pipelines.removal.unreferenced import delete_unreferenced
    from store.tables import maintain as maintenance

    workspace = Workspace.open(folder)
    tables = workspace.tables
    deleted = delete_unreferenced(workspace)
    maintained = list(maintenance.maintain(tables, older_than))
    staging = list(maintenance.remove_stale_staging(tables))
    if as_json:
        rows = [asdict(done) for done in maintained]
        print_json({"tables": rows, "deleted_vectors": deleted, "deleted_staging": staging})
    else:
        _print_maintained(deleted, maintained, staging)
    if damaged := [f"{done.table}: {path}" for done in maintained for path in done.changed]:
        raise DamagedTableError(
            f"bytes of these files have changed: {', '.join(damaged)}; run `isotrope check --deep`,"
            " then `isotrope repair`"
        )
    if not as_json:
        print_next("check", folder=folder)


def _print_maintained(
    deleted: Mapping[str, int], maintained: Sequence["Maintained"], staging: Sequence[str]
) -> None:
    for name, count in deleted.items():
        console.print(f"{name}: deleted {count:,} vectors of parts that no sample has")
    result = Table("table", "fragments", "versions", "freed", "")
    for done in maintained:
        pairs = (f"{before:,} -> {after:,}" for before, after in (done.fragments, done.versions))
        result.add_row(escape(done.table), *pairs, f"{done.bytes_freed:,} bytes", done.note)
    console.print(result)
    for name in staging:
        console.print(f"deleted stale staging: {escape(name)}")


def _print(findings: list["Finding"]) -> None:
    table = Table("check", "table", "result", "what to do")
    for finding in findings:
        name = finding.table + (f", drop {finding.drop}" if finding.drop else "")
        style = None if finding.passed else "red"
        row = (finding.check, name, finding.problem or "passed", finding.remedy)
        table.add_row(*map(escape, row), style=style)
    console.print(table)
    failed = sum(not finding.passed for finding in findings)
    console.print(f"{len(findings)} checks, {failed} failed" if failed else "everything is sound")
