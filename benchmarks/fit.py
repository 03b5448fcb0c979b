"""Measure the speed and memory of fitting corrections.

    python benchmarks/fit.py                            # 100,000 x 512: about ten minutes
    python benchmarks/fit.py --quick                    # 20,000 x 512: about one minute
    python benchmarks/fit.py --million                  # also a million rows, which needs 6 GB
    python benchmarks/fit.py --tables learned           # one of the tables
    python benchmarks/fit.py --write docs/speed.md

Six tables are printed: the time of the matrix products as a share of a fit; the time of methods
that learn from pairs of the banks; the time of peers with equal results; the growth of
the time with rows and bank; the time of several settings in one pass and of new rows; and the
memory.

Peers are the package nnn-retrieval (`uv pip install --target peers --no-deps nnn-retrieval tqdm`,
then PYTHONPATH=peers; it is left out if it is not installed), and the formulas of scikit-hubness in
numpy, block by block over full rows of similarities, because that package cannot be imported with
current scikit-learn. The results of a peer must be equal within 1e-5. Runs that are compared take
turns, several times, and the tables show medians of the ratios, of wall-clock time and of processor
time. On a shared machine, processor time varies less.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from machine import Seconds, peak_memory, time_per_multiply_add, timed, unit_rows
from peers import Peer, peers

from store.corrections import fit, fit_many

EQUAL = 1e-5
METHODS: dict[str, tuple[dict[str, Any], int]] = {  # parameters, and number of banks multiplied
    "nnn": ({"alpha": 1.0, "k": 16}, 1),
    "csls": ({"k": 10}, 1),
    "local_scaling": ({"k": 10}, 1),
    "inverted_softmax": ({"beta": 20.0}, 1),
    "dual_inverted_softmax": ({"beta_query": 20.0, "beta_gallery": 5.0}, 2),
}
INTRODUCTION = """\
A fit needs at least the product of the gallery with the bank. A share is the time of these products
alone, at the rate of numpy on one tile right before and after the fit, divided by the time of the
fit. Ratios of wall-clock time vary if other processes use the machine; ratios of processor time
hardly do. Each worker thread multiplies with one BLAS thread: a product on all cores waits for
threads that process another product, which costs up to half the speed. Up to a beta of 80,
exponentials are computed without the running maximum, and those of a doubled beta are squares. A
top k packs only the scores above the running k-th best. Results of peers are equal within 1e-5."""
SETTINGS = [
    *(("nnn", {"k": k}) for k in (4, 16, 64)),
    *(("inverted_softmax", {"beta": beta}) for beta in (10, 20, 40)),
]


THREE = [["nnn", {"alpha": 0.5, "k": 16}], ["nnn", {"alpha": 0.75, "k": 64}], ["sinkhorn", {}]]
LEARNED: dict[str, dict[str, Any]] = {
    "sinkhorn": {},
    "centered+sinkhorn": {},
    "canonical+nnn": {},
    "canonical+sinkhorn": {},
    "average": {"members": THREE},
    "canonical+average": {"members": THREE},
}
TABLES = ("shares", "learned", "peers", "growth", "sharing", "memory")


class Report:
    """Lines and tables in Markdown, which are also printed at once."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def add(self, *lines: str) -> None:
        self.lines += lines
        print(*lines, sep="\n", flush=True)

    def table(self, title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        self.add("", f"## {title}", "", "| " + " | ".join(header) + " |")
        self.add("|---" * len(header) + "|", *("| " + " | ".join(r) + " |" for r in rows), "")


class Case:
    """A random gallery with its banks."""

    def __init__(self, rows: int, bank: int, dims: int):
        self.rows, self.bank = rows, bank
        self.gallery = unit_rows(rows, dims, 0)
        self.banks = {
            "query_bank": unit_rows(bank, dims, 1),
            "gallery_bank": unit_rows(bank, dims, 2),
        }

    def fit(self, method: str) -> Any:
        params = METHODS[method][0] if method in METHODS else LEARNED[method]
        ids = {f"{name}_ids": np.arange(self.bank) for name in self.banks}
        return fit(method, gallery=self.gallery, **self.banks, **ids, **params)

    def part(self, rows: int, bank: int) -> "Case":
        """The first rows of the gallery and of the banks."""
        part = object.__new__(Case)
        part.rows, part.bank, part.gallery = rows, bank, self.gallery[:rows]
        part.banks = {name: b[:bank] for name, b in self.banks.items()}
        return part

    def product_time(self) -> Seconds:
        """The time of the product of the gallery with one bank, without other work."""
        unit_time = time_per_multiply_add(self.gallery, self.banks["query_bank"])
        return Seconds(*(seconds * self.gallery.size * self.bank for seconds in unit_time))


def median(runs: Iterable[Seconds]) -> Seconds:
    return Seconds(*(statistics.median(column) for column in zip(*runs, strict=True)))


def cells(ratio: Seconds, digits: int = 2) -> list[str]:
    return [f"{ratio.wall:.{digits}f}", f"{ratio.cpu:.{digits}f}"]


def measure_shares(report: Report, cases: Sequence[Case], repeats: int) -> None:
    """The time of the products as a share of a fit, for each method."""
    rows = []
    for case in cases:
        for method, (_, banks) in METHODS.items():
            shares = []
            for _ in range(repeats):
                before = case.product_time()
                seconds, _ = timed(lambda: case.fit(method))  # noqa: B023
                products = Seconds(*np.add(before, case.product_time()) / 2 * banks)
                shares.append(products / seconds)
            rows.append([method, f"{case.rows:,}", f"{case.bank:,}", *cells(median(shares))])
    header = ["method", "rows", "bank", "share of time", "of processor time"]
    report.table("Time of the products alone, as a share of a fit", header, rows)


def measure_learned(report: Report, case: Case, repeats: int) -> None:
    """The time of methods that learn from pairs of the banks, and of averages, relative to nnn."""
    ratios: dict[str, list[Seconds]] = {method: [] for method in LEARNED}
    for _ in range(repeats):
        for method, runs in ratios.items():
            seconds, _ = timed(partial(case.fit, "nnn"))
            learned, correction = timed(partial(case.fit, method))
            runs.append(learned / seconds)
            new = slice(0, case.rows // 100)
            applied = correction.apply(case.gallery[new])
            assert abs(applied.bias - correction.bias[new]).max() <= 1e-6
            assert abs(applied.vectors - correction.vectors[new]).max() <= 1e-6
    rows = [[method, *cells(median(runs))] for method, runs in ratios.items()]
    header = ["method", "times the time of nnn", "times the processor time"]
    report.table(f"To nnn, {case.rows:,} rows, banks of {case.bank:,}", header, rows)


def compare_with_peers(report: Report, case: Case, repeats: int) -> None:
    installed: list[Peer] = peers()
    ratios: list[list[Seconds]] = [[] for _ in installed]
    differences = [0.0] * len(installed)
    for _ in range(repeats):
        methods = {method for method, _, _ in installed}
        fitted = {method: timed(partial(case.fit, method)) for method in methods}
        for i, (method, _, work) in enumerate(installed):
            theirs, biases = timed(partial(work, case.gallery, case.banks["query_bank"]))
            ours, correction = fitted[method]
            ratios[i].append(theirs / ours)
            differences[i] = max(differences[i], float(abs(correction.bias - biases).max()))
    assert max(differences) <= EQUAL, differences
    rows = [
        [method, name, *cells(median(ratios[i])), f"{differences[i]:.0e}"]
        for i, (method, name, _) in enumerate(installed)
    ]
    header = ["method", "peer", "peer's time / ours", "processor time", "largest difference"]
    report.table(f"Peers, {case.rows:,} rows, bank of {case.bank:,}", header, rows)


def measure_growth(report: Report, case: Case, repeats: int) -> None:
    """The time of nnn on the full case, relative to parts of it."""
    parts = [case.part(case.rows // i, case.bank) for i in (4, 2)]
    parts += [case.part(case.rows, case.bank // i) for i in (4, 2)]
    ratios: list[list[Seconds]] = [[] for _ in parts]
    for _ in range(repeats):
        full, _ = timed(lambda: case.fit("nnn"))
        for part_ratios, part in zip(ratios, parts, strict=True):
            part_ratios.append(full / timed(partial(part.fit, "nnn"))[0])
    rows = []
    for part_ratios, part in zip(ratios, parts, strict=True):
        work = case.rows // part.rows * (case.bank // part.bank)
        rows.append([f"{part.rows:,} x {part.bank:,}", f"{work}", *cells(median(part_ratios))])
    header = ["rows x bank", "times the work", "times the time", "times the processor time"]
    report.table(f"Growth of nnn from less up to {case.rows:,} x {case.bank:,}", header, rows)


def measure_sharing(report: Report, case: Case, repeats: int) -> None:
    """Several settings in one pass, and new rows, relative to one fit."""
    new = slice(0, case.rows // 100)
    many, few_rows = [], []
    for _ in range(repeats):
        single, correction = timed(lambda: case.fit("nnn"))
        all_settings, _ = timed(lambda: fit_many(SETTINGS, gallery=case.gallery, **case.banks))
        many.append(all_settings / single)
        seconds, applied = timed(partial(correction.apply, case.gallery[new]))
        few_rows.append(seconds / single)
        assert abs(applied.bias - correction.bias[new]).max() <= 1e-6
    rows = [
        ["six settings (`fit_many`), to one", *cells(median(many))],
        ["`apply` on 1% of the rows, to a full fit", *cells(median(few_rows), 3)],
    ]
    header = ["", "ratio of times", "of processor times"]
    report.table(f"Six settings, and new rows, to one fit of nnn at {case.rows:,}", header, rows)


def measure_memory(report: Report, sizes: Sequence[int], bank: int, dims: int) -> None:
    rows = []
    for size in sizes:
        command = [sys.executable, __file__, "--measure", str(size), str(bank), str(dims)]
        output = subprocess.run(command, check=True, capture_output=True).stdout
        result = json.loads(output)
        rows.append([f"{size:,}", f"{result['inputs']:.2f}", f"{result['above']:.2f}",
                     f"{result['seconds']:.0f}", *cells(Seconds(*result["share"]))])  # fmt: skip
        assert result["above"] < 2
    header = ["rows", "GB of inputs", "GB above them", "seconds", "share of time",
              "of processor time"]  # fmt: skip
    report.table(f"Memory: six settings in one pass, bank of {bank:,}", header, rows)


def print_memory(rows: int, bank: int, dims: int) -> None:
    """Print time and memory of one pass as JSON.

    It runs in a process of its own and reads its peak memory. All memory of the process except the
    inputs, also that of the interpreter, counts as above them.
    """
    case = Case(rows, bank, dims)
    inputs = sum(x.nbytes for x in (case.gallery, *case.banks.values())) / 1e9
    before = case.product_time()
    seconds, _ = timed(lambda: fit_many(SETTINGS, gallery=case.gallery, **case.banks))
    share = Seconds(*np.add(before, case.product_time()) / 2) / seconds
    above = peak_memory() - inputs
    print(json.dumps({"inputs": inputs, "above": above, "seconds": seconds.wall, "share": share}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help="a fifth of the rows")
    parser.add_argument("--million", action="store_true", help="memory at a million rows too")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--write", type=Path, help="the Markdown file to write")
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=TABLES)
    parser.add_argument("--measure", type=int, nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print_memory(*options.measure)
        return
    rows, bank, dims = 20_000 if options.quick else 100_000, 10_000, 512
    report = Report()
    report.add(
        "# Speed of fitting", "", INTRODUCTION, "",
        f"Measured with `benchmarks/fit.py` on {os.cpu_count()} cores ({platform.machine()}), "
        f"{dims} dimensions, numpy {np.__version__}, medians of {options.repeats} runs.",
    )  # fmt: skip
    case = Case(rows, bank, dims)
    repeats = options.repeats
    shares = [case.part(rows // 4, bank), case.part(rows, 1000)]
    sizes = [rows, 1_000_000] if options.million else [rows]
    measures: dict[str, Callable[[], None]] = {
        "shares": partial(measure_shares, report, shares, repeats),
        "learned": partial(measure_learned, report, case, repeats),
        "peers": partial(compare_with_peers, report, case, repeats),
        "growth": partial(measure_growth, report, case, repeats),
        "sharing": partial(measure_sharing, report, case, repeats),
        "memory": partial(measure_memory, report, sizes, bank, dims),
    }
    for name in options.tables:
        measures[name]()
    if options.write:
        options.write.write_text("\n".join(report.lines).strip() + "\n")


if __name__ == "__main__":
    main()
