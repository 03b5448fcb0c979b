"""Measure corrected search over an index: recall, latency, build, against scan and raw search.

    python benchmarks/indexed_search.py PAIRS.npy --rows 100000 --peer

PAIRS.npy holds (2, n, d) images and captions, which `benchmarks/grown_gallery.py` grows. Raw search
is LanceDB, and Lance's scanner without it, with the setting that the same index needs for its own
recall of 0.99, chosen on the same queries of the bank by the same rule. With --peer,
the package nnn-retrieval with its FAISS retriever answers the same queries from memory (pip install
nnn-retrieval faiss-cpu). With --folder, the tables are kept, and used again.
"""

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import lancedb
import numpy as np
import pyarrow as pa
from grown_gallery import BANK, GALLERY, TOP, Grown, grow, make_release

from store.search.column_plan import WeightedInput
from store.search.corrected_search import search_corrected
from store.search.open_gallery import OpenGallery
from store.search.vector_layout import query_vector
from store.tables.lance_tables import Tables


@dataclass
class Case:
    """A way to search, with its seconds and its shares of the best rows, query by query."""

    name: str
    search: Callable[[np.ndarray], pa.Table]
    exact: np.ndarray
    seconds: list[float] = field(default_factory=list)
    shares: list[float] = field(default_factory=list)

    def measure(self, number: int, query: np.ndarray) -> None:
        started = time.perf_counter()
        rows = self.search(query)
        self.seconds.append(time.perf_counter() - started)
        ids = {int(value, 16) for value in rows["id"].to_pylist()}
        self.shares.append(len(ids & set(self.exact[number].tolist())) / TOP)


def nnn_retrieval(
    items: np.ndarray,
    bank: np.ndarray,
    queries: np.ndarray,
    exact: np.ndarray,
    k: int,
    alpha: float,
) -> Case:
    """nnn-retrieval over an IVF index of FAISS, with as few probes as reach a recall of 0.99."""
    import faiss
    from nnn import FaissCPURetriever, NNNRanker

    def ivf(width: int, lists: int) -> faiss.IndexIVFFlat:
        return faiss.IndexIVFFlat(
            faiss.IndexFlatIP(width), width, lists, faiss.METRIC_INNER_PRODUCT
        )

    dim, lists = items.shape[1], round(4 * len(items) ** 0.5)
    index = ivf(dim + 1, lists)
    # Its default for references is an index without `nprobe`, which it sets: this FAISS refuses.
    retriever = FaissCPURetriever(dim, reference_index=ivf(dim, 1), retrieval_index=index)
    retriever.retrieval_index = index  # the constructor checks it and forgets it
    started = time.perf_counter()
    ranker = NNNRanker(retriever, items, bank, alternate_ks=k, alternate_weight=alpha)
    print(f"nnn-retrieval: IVF{lists},Flat, built in {time.perf_counter() - started:.0f} s")

    def search(query: np.ndarray) -> pa.Table:
        _, rows = ranker.search(query[None], TOP)
        return pa.table({"id": [f"{row:x}" for row in rows[0]]})

    case = Case("", search, exact)
    for probes in (8, 16, 32, 64, 128, 256, 512):
        index.nprobe = probes
        case = Case(f"nnn-retrieval, FAISS, {probes} probes", search, exact)
        for number, query in enumerate(queries):
            case.measure(number, query)
        if np.mean(case.shares) >= 0.99:
            break
    return Case(case.name, search, exact)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("pairs", type=Path, help="a file (2, n, d) of images and captions")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--type", default="ivf_rq")
    parser.add_argument("--folder", help="of the tables, which are kept")
    parser.add_argument("--peer", action="store_true", help="measure nnn-retrieval too")
    options = parser.parse_args()
    kept = nullcontext(options.folder) if options.folder else tempfile.TemporaryDirectory()
    with kept as folder:
        made = make_release(folder, options.pairs, options.rows, options.queries, options.type)
        index = made.release.indexes["image"]
        print(f"{index.rows:,} x {made.release.dim}: {index.type}, {index.partitions} partitions,")
        print(f"{index.bytes / 1e6:.0f} MB, built in {index.seconds:.0f} s", *index.notes, sep="\n")
        for name, probes in index.probes.items():
            print(name, *probes, sep="\n  ")
        peers = []
        if options.peer:
            items, _, _ = grow(options.pairs, options.rows, 0)
            _, bank, _ = grow(options.pairs, BANK, 1)
            params = made.direction.params
            exact = made.exact["corrected"]
            k, alpha = params["k"], params["alpha"]
            peers.append(nnn_retrieval(items, bank, made.queries, exact, k, alpha))
        report(made, folder, peers)


def report(made: Grown, folder: str, peers: list[Case]) -> None:
    """Print recall@10 and latency of each way to search."""
    table = Tables(folder).open(GALLERY)
    database = lancedb.connect(folder).open_table(GALLERY)
    index, queries, exact = made.release.indexes["image"], made.queries, made.exact
    directions = {"text": made.direction}

    def corrected(gallery: OpenGallery) -> Callable[[np.ndarray], pa.Table]:
        return lambda q: (
            search_corrected(
                gallery, [WeightedInput("text", q, 1.0)], directions, ["id"], None, TOP
            ).rows
        )

    raw_probes = index.probes.get("text->image raw", ())

    def bare_lancedb(query: np.ndarray) -> pa.Table:
        search = database.search(query_vector(query, {}, {}), vector_column_name="vector")
        search = search.nprobes(raw_probes[0].nprobes).refine_factor(raw_probes[0].refine)
        return search.select(["id", "_distance"]).limit(TOP).to_arrow()

    def bare(query: np.ndarray) -> pa.Table:
        probe = raw_probes[0]
        nearest = {"column": "vector", "q": query_vector(query, {}, {}), "k": TOP}
        nearest |= {"minimum_nprobes": probe.nprobes, "maximum_nprobes": probe.nprobes}
        nearest["refine_factor"] = probe.refine
        return table.scanner(columns=["id", "_distance"], nearest=nearest).to_table()

    indexed, scanned = OpenGallery(table, "image", index), OpenGallery(table, "image")
    cases = [Case("corrected, index", corrected(indexed), exact["corrected"])]
    if raw_probes:
        cases.append(Case("raw, LanceDB, index", bare_lancedb, exact["raw"]))
        cases.append(Case("raw, Lance's scanner, index", bare, exact["raw"]))
    cases += peers
    scan = Case("corrected, scan", corrected(scanned), exact["corrected"])
    for case in (*cases, scan):
        case.search(queries[0])  # opens files
    for number, query in enumerate(queries):  # in turns: the load of the machine is the same
        for case in cases:
            case.measure(number, query)
    for number, query in enumerate(queries):  # apart: a scan drives the index out of the caches
        scan.measure(number, query)
    print("\nratio: of the first way to the others, median over queries")
    print(
        "\n| search | recall@10 | p5, ms | p50, ms | p99, ms | ratio |\n|---|---|---|---|---|---|"
    )
    for case in (*cases, scan):
        p5, p50, p99 = 1000 * np.quantile(case.seconds, (0.05, 0.5, 0.99))
        ratio = np.median(np.divide(cases[0].seconds, case.seconds))
        figures = f"{p5:.1f} | {p50:.1f} | {p99:.1f} | {ratio:.2f}"
        print(f"| {case.name} | {np.mean(case.shares):.4f} | {figures} |")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"peak memory, with what the benchmark keeps itself: {peak:.2f} GB")


if __name__ == "__main__":
    main()
