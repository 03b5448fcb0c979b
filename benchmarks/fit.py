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
runs in turn, several times over, and medians of the ratios are given: seconds differ from run to
run on a machine that is shared, ratios hardly.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from machine import peak, product_rate, timed, unit_rows
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
What a fit cannot do without is the product of the gallery with the bank. `share` is the time of
those products alone, at the rate that numpy reaches on one of our tiles right before and after,
over the time of the fit. Each of our threads multiplies with one BLAS thread: a product that uses
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

    def share(self, method: str) -> tuple[float, float]:
        """Seconds of a fit, and the share of them that its products alone would take."""
        before = product_rate(self.gallery, self.banks["query_bank"])
        seconds, _ = timed(lambda: self.fit(method))
        after = product_rate(self.gallery, self.banks["query_bank"])
        work = METHODS[method][1] * self.gallery.size * self.bank
        return seconds, work / ((before + after) / 2) / seconds


def products(report: Report, cases: Sequence[Case], repeats: int) -> None:
    rows = []
    for case in cases:
        for method in METHODS:
            seconds, shares = zip(*(case.share(method) for _ in range(repeats)), strict=True)
            rows.append([method, f"{case.rows:,}", f"{case.bank:,}",
                         f"{statistics.median(seconds):.2f}", f"{statistics.median(shares):.2f}",
                         f"{min(shares):.2f} to {max(shares):.2f}"])  # fmt: skip
    header = ["method", "rows", "bank", "seconds", "share", "of single runs"]
    report.table("Share of the time that the products alone would take", header, rows)


def beside_peers(report: Report, case: Case, repeats: int) -> None:
    known: list[Peer] = peers()
    ratios: dict[str, list[float]] = {name + method: [] for method, name, _ in known}
    worst = dict.fromkeys(ratios, 0.0)
    for _ in range(repeats):
        for method in dict.fromkeys(method for method, _, _ in known):
            ours, c = timed(lambda method=method: case.fit(method))
            for name, work in ((name, work) for m, name, work in known if m == method):
                theirs, answer = timed(
                    lambda work=work: work(case.gallery, case.banks["query_bank"])
                )
                ratios[name + method].append(theirs / ours)
                worst[name + method] = max(worst[name + method], float(abs(c.bias - answer).max()))
    assert all(difference <= EQUAL for difference in worst.values()), worst
    rows = [[m, name, f"{statistics.median(ratios[name + m]):.2f}", f"{worst[name + m]:.0e}"]
            for m, name, _ in known]  # fmt: skip
    header = ["method", "peer", "peer's time / ours", "largest difference"]
    report.table(f"Peers, {case.rows:,} rows, bank of {case.bank:,}", header, rows)


def growth(report: Report, case: Case, repeats: int) -> None:
    parts = [case.part(case.rows // i, case.bank) for i in (4, 2, 1)]
    parts += [case.part(case.rows, case.bank // i) for i in (4, 2)]
    rows = []
    for method in ("nnn", "inverted_softmax"):
        times = [[timed(lambda p=p: p.fit(method))[0] for p in parts] for _ in range(repeats)]  # noqa: B023
        for i, p in enumerate(parts):
            if i != 2:
                ratio = statistics.median(t[2] / t[i] for t in times)
                size = case.rows // p.rows * (case.bank // p.bank)
                rows.append([method, f"{p.rows:,} x {p.bank:,}", f"{size}", f"{ratio:.2f}"])
    header = ["method", "smaller rows x bank", "times the work", "times the time"]
    report.table(f"Growth up to {case.rows:,} x {case.bank:,}", header, rows)


def together(report: Report, case: Case, repeats: int) -> None:
    """Several settings in one pass, and new rows against a whole fit."""
    new = slice(0, case.rows // 100)
    one, six, some = [], [], []
    for _ in range(repeats):
        seconds, c = timed(lambda: case.fit("nnn"))
        one.append(seconds)
        six.append(timed(lambda: fit_many(SIX, gallery=case.gallery, **case.banks))[0] / seconds)
        seconds, applied = timed(lambda c=c: c.apply(case.gallery[new]))
        some.append(seconds / one[-1])
        assert abs(applied.bias - c.bias[new]).max() <= 1e-6
    rows = [
        ["six settings (`fit_many`), to one", f"{statistics.median(six):.2f}"],
        ["`apply` on 1% of the rows, to a whole fit", f"{statistics.median(some):.3f}"],
    ]
    report.table(f"Six settings, and new rows, to one fit of nnn at {case.rows:,}",
                 ["", "ratio of times"], rows)  # fmt: skip


def memory(report: Report, sizes: Sequence[int], bank: int, dims: int) -> None:
    rows = []
    for size in sizes:
        call = [sys.executable, __file__, "--measure", str(size), str(bank), str(dims)]
        seen = json.loads(subprocess.run(call, check=True, capture_output=True).stdout)
        rows.append([f"{size:,}", f"{seen['inputs']:.2f}", f"{seen['above']:.2f}",
                     f"{seen['seconds']:.0f}", f"{seen['share']:.2f}"])  # fmt: skip
        assert seen["above"] < 2
    header = ["rows", "GB of inputs", "GB above them", "seconds", "share"]
    report.table(f"Memory: six settings in one pass, bank of {bank:,}", header, rows)


def measure(rows: int, bank: int, dims: int) -> None:
    """Print what one pass over so many rows takes; runs alone in a process, whose peak it tells.
    All that the process holds besides its inputs, the interpreter too, counts as above them."""
    case = Case(rows, bank, dims)
    inputs = sum(x.nbytes for x in (case.gallery, *case.banks.values())) / 1e9
    before = product_rate(case.gallery, case.banks["query_bank"])
    seconds, _ = timed(lambda: fit_many(SIX, gallery=case.gallery, **case.banks))
    rate = (before + product_rate(case.gallery, case.banks["query_bank"])) / 2
    above = peak() - inputs
    share = case.gallery.size * bank / rate / seconds
    seen = {"inputs": inputs, "above": above, "seconds": seconds, "share": share}
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
    products(report, [case, case.part(rows, 1000)], options.repeats)
    beside_peers(report, case, options.repeats)
    growth(report, case, options.repeats)
    together(report, case, options.repeats)
    # Here belongs the Ray job's speed in the number of its workers.
    memory(report, [rows, 1_000_000] if options.million else [rows], bank, dims)
    if options.write:
        options.write.write_text("\n".join(report.lines).strip() + "\n")


if __name__ == "__main__":
    main()
