"""Commands that measure retrieval: evaluate, drift."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console

from orchestration.cli import tables
from orchestration.cli.console import print_json, print_next
from orchestration.cli.options import AS_JSON, CORPUS, example
from store.workspace import Workspace


@click.command(epilog=example("isotrope evaluate --pictures figures"))
@CORPUS
@click.option(
    "--json", "as_json", is_flag=True, help="Print JSON, with every setting that was tried."
)
@click.option("--pictures", type=click.Path(path_type=Path), help="Write plots into this folder.")
@click.option(
    "--transductive",
    is_flag=True,
    help="Fit the corrections on the test queries, as some papers do.",
)
@click.option(
    "--stress",
    is_flag=True,
    help="Ask changed and damaged queries, and the same samples by each of their parts.",
)
@click.option(
    "--systems",
    is_flag=True,
    help="Compare systems beyond one vector, such as expand, on held-out pairs.",
)
@click.option(
    "--samples",
    type=click.IntRange(1),
    help="The most samples of --stress (default: 200) and of --systems (100).",
)
def evaluate(
    folder: str,
    as_json: bool,
    pictures: Path | None,
    transductive: bool,
    stress: bool,
    systems: bool,
    samples: int | None,
) -> None:
    """Show retrieval of the newest release, raw and corrected."""
    if stress:
        _evaluate_stress(folder, as_json, samples)
        return
    if systems:
        _evaluate_systems(folder, as_json, samples)
        return
    from store.tables.releases import latest_release

    workspace = Workspace.open(folder)
    release = latest_release(workspace.tables, main=workspace.config.space)
    evaluation = release.evaluation
    if transductive:
        from pipelines.release.transductive import evaluate_transductive

        evaluation = evaluate_transductive(workspace.tables, release)
    if as_json:
        answer = {
            name: {**figures, "tried": release.directions[name].tried}
            for name, figures in evaluation.items()
        }
        print_json(answer)
    else:
        tables.print_evaluation(release, evaluation)
    if pictures:
        from pipelines.reports.retrieval_plots import write_pictures

        for path in write_pictures(release, evaluation, pictures):
            click.echo(f"written: {path}", err=as_json)
    if not as_json:
        print_next("report", folder=folder)


def _evaluate_stress(folder: str, as_json: bool, samples: int | None) -> None:
    import isotrope
    from orchestration.cli.stress_report import print_stress
    from pipelines.release.stress import SAMPLES, stress

    with Console(stderr=True).status("loading the encoders, and asking queries under stress"):
        figures = stress(isotrope.open_corpus(folder), samples or SAMPLES)
    if as_json:
        print_json(figures)
    else:
        print_stress(figures)


def _evaluate_systems(folder: str, as_json: bool, samples: int | None) -> None:
    from rich.progress import track

    import isotrope
    from orchestration.cli.systems_report import print_systems
    from pipelines.release.systems import SAMPLES, compare_systems

    def steps(names: list[str]) -> Iterator[str]:
        return iter(track(names, "directions", console=Console(stderr=True), transient=True))

    figures = compare_systems(isotrope.open_corpus(folder), samples or SAMPLES, steps)
    if as_json:
        print_json(figures)
    else:
        print_systems(figures)


@click.command(epilog=example("isotrope drift --corpus corpus"))
@CORPUS
@AS_JSON
def drift(folder: str, as_json: bool) -> None:
    """Test whether recent queries find more hubs than before."""
    from pipelines.release.drift import measure_drift

    measured = measure_drift(Workspace.open(folder))
    if as_json:
        print_json([asdict(each) for each in measured])
        return
    tables.print_drift(measured)
    print_next("evaluate", folder=folder)
