"""Measure what a cascade of scorers saves, and what it loses.

    python -m benchmarks.cascade demo

The pictures of the demo corpus are measured by all scorers, and then by cascades, each time by the
stage `signals` into tables of its own. Two rules: a limit on the traces of resampling
(`image_edits`), and a limit on the probability of a class by EfficientNet-Lite2, with that by the
smaller Lite0 as a signal before it. "Lost" is the share of the samples that the rules keep
and the cascade rejects, of the former; "kept wrongly" is the reverse. Both are counted on samples
outside the random sample. Processor seconds are those of this process.
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import timm
import torch
import yaml
from safetensors.torch import save_file

from embedders.local.packages import efficientnet_file
from pipelines.policy.cascade import by_predictors, decide, fit_plan, plan_of
from pipelines.policy.row_rules import passes, prefilter
from pipelines.samples.stage import ingest
from pipelines.signals.stage import measure
from pipelines.stages import staleness
from pipelines.stages.context import StageContext
from store.config.policy import Policy
from store.tables import schema
from store.tables.cascade_notes import parse_notes, seconds_of
from store.workspace import Workspace

LOSSES = (0.01, 0.05, 0.1)
SAMPLE, DRAWS = 300, 200
CLASS = 917  # comic book: drawings against photographs
SMALLEST = {"image_min_side": {"min": 64}}
POLICIES: dict[str, dict[str, Any]] = {
    "image_edits": {**SMALLEST, "image_resampled": {"max": 4}},
    "image_class": {**SMALLEST, "image_class": {"max": 0.02}},
}


class Run(NamedTuple):
    """The rows of `signals` by id, and the processor seconds of the stage."""

    rows: pa.Table
    seconds: float


def checkpoint(size: int, folder: Path) -> str:
    """The network in timm's own names, as corpus.yaml names it."""
    name = f"tf_efficientnet_lite{size}"
    model = timm.create_model(name, pretrained=False)
    saved = torch.load(efficientnet_file(size), map_location="cpu", weights_only=True)
    tensors = dict(zip(model.state_dict(), (t.contiguous() for t in saved.values()), strict=True))
    save_file(tensors, folder / f"{name}.safetensors")
    return f"timm/{name}:{folder / name}.safetensors"


def signals_of(root: Path, config: dict[str, Any], policy: dict[str, Any]) -> Run:
    """Measure a corpus anew under a policy."""
    (root / "corpus.yaml").write_text(yaml.safe_dump({**config, "policy": policy}))
    workspace = Workspace.open(root)
    tables = workspace.tables
    if not tables.exists("samples"):
        for drop in staleness.drops(workspace).values():
            ingest(StageContext(workspace, drop))
    if tables.exists("signals"):
        tables.delete("signals", schema.SIGNALS, "true")
    started = time.process_time()
    for name in staleness.drops_with_samples(workspace):
        measure(StageContext(workspace, name, forced=True))
    seconds = time.process_time() - started
    return Run(tables.open("signals").to_table().sort_by("id").combine_chunks(), seconds)


def compared(full: Run, run: Run, policy: Policy, scorer: str) -> list[str]:
    """Cells of a table: measured, seconds of the scorer, of the stage, lost, kept wrongly."""
    notes = [parse_notes(text).get(scorer) for text in run.rows["cascade"].to_pylist()]
    seconds = [s for note in notes if (s := seconds_of(note)) is not None]
    truly = passes([t for t in prefilter(policy) if t.operator != "predicted"], full.rows)
    kept = passes(prefilter(policy), run.rows)
    rest = np.arange(len(kept)) >= (SAMPLE if policy.cascade and policy.cascade.loss else 0)
    return [
        f"{len(seconds)} of {len(notes)}",
        f"{sum(seconds):.1f}",
        f"{run.seconds:.1f}",
        share((truly & ~kept)[rest].sum(), truly[rest].sum()),
        share((~truly & kept)[rest].sum(), (~truly)[rest].sum()),
    ]


def drawn(rows: pa.Table, policy: Policy, scorer: str, rng: np.random.Generator) -> list[str]:
    """Cells of a table: measured of the rest, lost and kept wrongly, over random samples."""
    plan, sums = plan_of(policy), []
    step = next(step for step in plan.steps if step.scorer == scorer)
    early = passes(list(plan.tests), rows)
    for _ in range(DRAWS):
        order = rng.permutation(rows.num_rows)
        sample, rest = (rows.take(pa.array(part)) for part in (order[:SAMPLE], order[SAMPLE:]))
        fitted = fit_plan(policy, sample)
        columns = {name: rest[name].combine_chunks() for name in plan.reads}
        texts = decide(fitted, columns, lambda *_: None, by_predictors(fitted)).to_pylist()
        note = np.array([parse_notes(text).get(scorer, "") for text in texts])
        broken = ~passes(list(step.tests), rest)
        asked = early[order[SAMPLE:]]
        sums.append(
            [
                (asked & (note == "")).sum() / asked.sum(),
                (asked & ~broken & (note == "reject")).sum() / (asked & ~broken).sum(),
                (asked & broken & (note == "keep")).sum() / (asked & broken).sum(),
            ]
        )
    means, errors = np.mean(sums, axis=0), np.std(sums, axis=0) / np.sqrt(DRAWS)
    return [f"{mean:.3f} ±{1.96 * error:.3f}" for mean, error in zip(means, errors, strict=True)]


def share(part: Any, of: Any) -> str:
    return f"{int(part)} of {int(of)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--work", type=Path, help="keeps the samples that were read, for reruns")
    options = parser.parse_args()
    drops = (options.corpus / "drops").resolve()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.work or Path(temporary)
        small, large = (checkpoint(size, Path(temporary)) for size in (0, 2))
        softmax = {"output": CLASS, "activation": "softmax"}
        signals = {
            "edits": True,
            "watermark": {"model": small, **softmax},  # any number: here the small network's
            "class": {"model": large, "side": 260, **softmax},
        }
        config = {"sources": {"demo": {"path": str(drops)}}, "signals": signals}
        print("| rules | loss | measured | its seconds | of the stage | lost | kept wrongly |")
        print("|---|---|---|---|---|---|---|", flush=True)
        full = {}
        for scorer, rules in POLICIES.items():
            others = {"image_edits": ("watermark", "class"), "image_class": ("edits",)}[scorer]
            own = {**config, "signals": {k: v for k, v in signals.items() if k not in others}}
            full[scorer] = signals_of(folder, own, rules)
            name = f"{scorer} of {full[scorer].rows.num_rows}"
            print(f"| {name} | no cascade | | | {full[scorer].seconds:.1f} | | |", flush=True)
            for loss in (None, 0.05):
                cascade = {"scorers": [scorer], "sample": SAMPLE}
                cascade |= {} if loss is None else {"loss": loss}
                section = {**rules, "cascade": cascade}
                run = signals_of(folder, own, section)
                cells = compared(full[scorer], run, Policy.model_validate(section), scorer)
                print(f"| | {loss or 'exact'} | {' | '.join(cells)} |", flush=True)
        print(f"\n| rules | loss | measured | lost | kept wrongly |, {DRAWS} draws of the sample")
        print("|---|---|---|---|---|", flush=True)
        rng = np.random.default_rng(0)
        for scorer, rules in POLICIES.items():
            for loss in LOSSES:
                cascade = {"scorers": [scorer], "sample": SAMPLE, "loss": loss}
                policy = Policy.model_validate({**rules, "cascade": cascade})
                cells = drawn(full[scorer].rows, policy, scorer, rng)
                print(f"| {scorer} | {loss} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
