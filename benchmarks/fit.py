"""Fitting corrections: its speed beside the matrix products that it cannot do without, its peers'
speed at the same answers, how it grows, and its memory.

    python benchmarks/fit.py                            # 100,000 x 512: about ten minutes
    python benchmarks/fit.py --quick                    # 20,000 x 512: about one
    python benchmarks/fit.py --million                  # and a million rows, which needs 6 GB
    python benchmarks/fit.py --write docs/speed.md

Peers: the package nnn-retrieval (`uv pip install --target peers --no-deps nnn-retrieval tqdm`,
then PYTHONPATH=peers; left out where it is missing), and the formulas of scikit-hubness in plain
numpy, block by block over full rows of similarities, because that package does not import beside
today's scikit-learn. What a peer answers must be equal within 1e-5. Everything that is compared
runs in turn, several times over, and medians of the ratios are given, by the clock and by the time
of processors, which on a machine that is shared is the steadier of the two.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from machine import Took, peak, products, timed, unit_rows
from peers import Peer, peers

from store.corrections import fit, fit_many

EQUAL = 1e-5
METHODS: dict[str, tuple[dict[str, Any], int]] = {  # parameters, and how many banks are multiplied
    "nnn": ({"alpha": 1.0, "k": 16}, 1),
    "csls": ({"k": 10}, 1),
    "local_scaling": ({"k": 10}, 1),
    "inverted_softmax": ({"beta": 20.0}, 1),
    "dual_inverted_softmax": ({"beta_query": 20.0, "beta_gallery": 5.0}, 2),
}
INTRODUCTION = """\
What a fit cannot do without is the product of the gallery with the bank. Shares are the time of
those products alone, at the rate that numpy reaches on one of our tiles right before and after,
over the time of the fit. By the clock, ratios waver where others use the machine; by processor
time they hardly do. Each of our threads multiplies with one BLAS thread: a product that uses
all cores waits for threads that are busy with what comes after another product, which cost up to
half the speed. Up to a beta of 80, exponentials are taken without the running maximum, and those
of a doubled beta are squares; a top k looks closely only at scores above a floor. Peers' answers
are equal within 1e-5."""
SIX = [
    *(("nnn", {"k": k}) for k in (4, 16, 64)),
    *(("inverted_softmax", {"beta": beta}) for beta in (10, 20, 40)),
]


class Report:
    """Tables in Markdown, printed as they come."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, *lines: str) -> None:
        self.lines += lines
        print(*lines, sep="\n", flush=True)

    def table(self, title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        self.say("", f"## {title}", "", *("| " + " | ".join(r) + " |" for r in (header,)))
        self.say("|---" * len(header) + "|", *("| " + " | ".join(r) + " |" for r in rows), "")


class Case:
    """A gallery with its banks, fitted in whatever way."""

    def __init__(self, rows: int, bank: int, dims: int):
        self.rows, self.bank = rows, bank
        self.gallery = unit_rows(rows, dims, 0)
        self.banks = {
            "query_bank": unit_rows(bank, dims, 1),
            "gallery_bank": unit_rows(bank, dims, 2),
        }

    def fit(self, method: str) -> Any:
        return fit(method, gallery=self.gallery, **self.banks, **METHODS[method][0])

    def part(self, rows: int, bank: int) -> "Case":
        """The first rows of both."""
        part = object.__new__(Case)
        part.rows, part.bank, part.gallery = rows, bank, self.gallery[:rows]
        part.banks = {name: b[:bank] for name, b in self.banks.items()}
        return part

    def alone(self) -> Took:
        """What the product of the gallery with a bank takes without anything else."""
        one = products(self.gallery, self.banks["query_bank"])
        return Took(*(seconds * self.gallery.size * self.bank for seconds in one))


def median(runs: Iterable[Took]) -> Took:
    return Took(*(statistics.median(column) for column in zip(*runs, strict=True)))


def ratio(took: Took, digits: int = 2) -> list[str]:
    return [f"{took.clock:.{digits}f}", f"{took.busy:.{digits}f}"]


def shares(report: Report, cases: Sequence[Case], repeats: int) -> None:
    rows = []
    for case in cases:
        for method, (_, banks) in METHODS.items():
            seen = []
            for _ in range(repeats):
                before = case.alone()
                took, _ = timed(lambda: case.fit(method))  # noqa: B023
                seen.append(Took(*np.add(before, case.alone()) / 2 * banks) / took)
            rows.append([method, f"{case.rows:,}", f"{case.bank:,}", *ratio(median(seen))])
    header = ["method", "rows", "bank", "share of time", "of processor time"]
    report.table("What the products alone would take, as a share of a fit", header, rows)


def beside_peers(report: Report, case: Case, repeats: int) -> None:
    known: list[Peer] = peers()
    ratios: list[list[Took]] = [[] for _ in known]
    worst = [0.0] * len(known)
    for _ in range(repeats):
        fitted = {method: timed(partial(case.fit, method)) for method in {m for m, _, _ in known}}
        for i, (method, _, work) in enumerate(known):
            theirs, answer = timed(partial(work, case.gallery, case.banks["query_bank"]))
            ours, c = fitted[method]
            ratios[i].append(theirs / ours)
            worst[i] = max(worst[i], float(abs(c.bias - answer).max()))
    assert max(worst) <= EQUAL, worst
    rows = [
        [method, name, *ratio(median(ratios[i])), f"{worst[i]:.0e}"]
        for i, (method, name, _) in enumerate(known)
    ]
    header = ["method", "peer", "peer's time / ours", "processor time", "largest difference"]
    report.table(f"Peers, {case.rows:,} rows, bank of {case.bank:,}", header, rows)


def growth(report: Report, case: Case, repeats: int) -> None:
    parts = [case.part(case.rows // i, case.bank) for i in (4, 2)]
    parts += [case.part(case.rows, case.bank // i) for i in (4, 2)]
    seen: list[list[Took]] = [[] for _ in parts]
    for _ in range(repeats):
        whole, _ = timed(lambda: case.fit("nnn"))
        for times, part in zip(seen, parts, strict=True):
            times.append(whole / timed(partial(part.fit, "nnn"))[0])
    rows = []
    for times, part in zip(seen, parts, strict=True):
        work = case.rows // part.rows * (case.bank // part.bank)
        rows.append([f"{part.rows:,} x {part.bank:,}", f"{work}", *ratio(median(times))])
    header = ["rows x bank", "times the work", "times the time", "times the processor time"]
    report.table(f"Growth of nnn from less up to {case.rows:,} x {case.bank:,}", header, rows)


def together(report: Report, case: Case, repeats: int) -> None:
    """Several settings in one pass, and new rows against a whole fit."""
    new = slice(0, case.rows // 100)
    six, some = [], []
    for _ in range(repeats):
        one, c = timed(lambda: case.fit("nnn"))
        six.append(timed(lambda: fit_many(SIX, gallery=case.gallery, **case.banks))[0] / one)
        took, applied = timed(partial(c.apply, case.gallery[new]))
        some.append(took / one)
        assert abs(applied.bias - c.bias[new]).max() <= 1e-6
    rows = [
        ["six settings (`fit_many`), to one", *ratio(median(six))],
        ["`apply` on 1% of the rows, to a whole fit", *ratio(median(some), 3)],
    ]
    header = ["", "ratio of times", "of processor times"]
    report.table(f"Six settings, and new rows, to one fit of nnn at {case.rows:,}", header, rows)


def memory(report: Report, sizes: Sequence[int], bank: int, dims: int) -> None:
    rows = []
    for size in sizes:
        call = [sys.executable, __file__, "--measure", str(size), str(bank), str(dims)]
        seen = json.loads(subprocess.run(call, check=True, capture_output=True).stdout)
        rows.append([f"{size:,}", f"{seen['inputs']:.2f}", f"{seen['above']:.2f}",
                     f"{seen['took']:.0f}", *ratio(Took(*seen["share"]))])  # fmt: skip
        assert seen["above"] < 2
    header = ["rows", "GB of inputs", "GB above them", "seconds", "share of time",
              "of processor time"]  # fmt: skip
    report.table(f"Memory: six settings in one pass, bank of {bank:,}", header, rows)


def measure(rows: int, bank: int, dims: int) -> None:
    """Print what one pass over so many rows takes; runs alone in a process, whose peak it tells.
    All that the process holds besides its inputs, the interpreter too, counts as above them."""
    case = Case(rows, bank, dims)
    inputs = sum(x.nbytes for x in (case.gallery, *case.banks.values())) / 1e9
    before = case.alone()
    took, _ = timed(lambda: fit_many(SIX, gallery=case.gallery, **case.banks))
    share = Took(*np.add(before, case.alone()) / 2) / took
    seen = {"inputs": inputs, "above": peak() - inputs, "took": took.clock, "share": share}
    print(json.dumps(seen))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help="a fifth of the rows")
    parser.add_argument("--million", action="store_true", help="memory at a million rows too")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--write", type=Path, help="the Markdown file to write")
    parser.add_argument("--measure", type=int, nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure(*options.measure)
        return
    rows, bank, dims = 20_000 if options.quick else 100_000, 10_000, 512
    report = Report()
    report.say(
        "# Speed of fitting", "", INTRODUCTION, "",
        f"Measured with `benchmarks/fit.py` on {os.cpu_count()} cores ({platform.machine()}), "
        f"{dims} dimensions, numpy {np.__version__}, medians of {options.repeats} runs.",
    )  # fmt: skip
    case = Case(rows, bank, dims)
    shares(report, [case.part(rows // 4, bank), case.part(rows, 1000)], options.repeats)
    beside_peers(report, case, options.repeats)
    growth(report, case, options.repeats)
    together(report, case, options.repeats)
    # Here belongs the Ray job's speed in the number of its workers.
    memory(report, [rows, 1_000_000] if options.million else [rows], bank, dims)
    if options.write:
        options.write.write_text("\n".join(report.lines).strip() + "\n")


if __name__ == "__main__":
    main()
