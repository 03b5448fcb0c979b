"""Measure corrected search over an index: recall, latency, build, against scan and raw search.

    python benchmarks/indexed_search.py PAIRS.npy --rows 100000 --peer

PAIRS.npy holds (2, n, d) images and captions. The gallery is grown from them by mixtures of two
pairs with noise, so that it keeps the gap between the modalities and has real hubs. Text queries
that are in neither bank nor gallery search the images. Raw search is Lance alone, with the setting
that the same index needs for its own recall of 0.99. With --peer, the package nnn-retrieval with
its FAISS retriever answers the same queries from memory (pip install nnn-retrieval faiss-cpu).
"""

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import lance
import numpy as np
import pyarrow as pa

from pipelines.index.build import index_gallery
from store.arrow import vector_column
from store.config.index import Index
from store.corrections import Correction, fit
from store.search.column_plan import WeightedInput
from store.search.corrected_search import search_corrected
from store.search.open_gallery import OpenGallery
from store.search.vector_layout import BIAS_SCALE, fold, query_vector
from store.tables import schema
from store.tables.banks import Banks
from store.tables.indexes import GalleryIndex
from store.tables.lance_tables import Tables
from store.tables.releases import Direction

NAME, TOP, BANK, NOISE = "gallery__grown__image", 10, 2_000, 0.35
_ROWS = 10_000  # that are grown and written at once


def grow(path: Path, rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Images and captions (rows, d), unit length: mixtures of two pairs of a file, with noise."""
    images, texts = (unit(x.astype(np.float32)) for x in np.load(path))
    rng = np.random.default_rng(seed)
    first, second = rng.integers(0, len(images), (2, rows))
    share = rng.uniform(0.55, 1, (rows, 1)).astype(np.float32)
    noise = NOISE / np.sqrt(images.shape[1])
    grown = []
    for x in (images, texts):
        out = share * x[first] + (1 - share) * x[second]
        for start in range(0, rows, _ROWS):
            block = out[start : start + _ROWS]
            block += noise * rng.standard_normal(block.shape, dtype=np.float32)
        grown.append(unit(out))
    return grown[0], grown[1]


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def write_gallery(tables: Tables, correction: Correction, direction: Direction) -> None:
    """The columns of a gallery that a search reads, with the correction compiled into them."""
    rows = len(correction.bias)
    wanted = schema.gallery(correction.vectors.shape[1])
    text = pa.array([str(n) for n in range(rows)])
    folded = fold(correction.vectors, {"text": correction.bias}, {"text": direction})
    given = {"vector": vector_column(folded), "bias_text": pa.array(correction.bias)}
    given |= dict.fromkeys(("part_id", "id", "cluster", "key"), text)
    empty = {
        "sample_ids": pa.array([[]] * rows, pa.list_(pa.string())),
        "drops": pa.array([[]] * rows, pa.list_(pa.string())),
        **{f"bias_{m}": pa.array(np.zeros(rows, np.float32)) for m in ("image", "audio")},
        **{f"hub_{m}": pa.array(np.zeros(rows, bool)) for m in schema.MODALITIES},
    }
    columns = [(given | empty).get(f.name, pa.nulls(rows, f.type)) for f in wanted]
    table = pa.table([c.cast(f.type) for c, f in zip(columns, wanted, strict=True)], schema=wanted)
    tables.replace(NAME, wanted, table.to_batches(_ROWS), None)


def bank_of(texts: np.ndarray) -> Banks:
    """The query bank of texts."""
    wanted = schema.banks(texts.shape[1])
    names = pa.array([str(n) for n in range(len(texts))])
    constant = {"split": "bank", "modality": "text"}
    columns = {f.name: names for f in wanted}
    columns |= {name: pa.array([value] * len(texts)) for name, value in constant.items()}
    columns["vector"] = vector_column(texts)
    return Banks(pa.table([columns[f.name] for f in wanted], schema=wanted))


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
        best = set(map(str, self.exact[number]))
        self.shares.append(len(set(rows["id"].to_pylist()) & best) / TOP)


def nnn_retrieval(
    items: np.ndarray, bank: np.ndarray, queries: np.ndarray, exact: np.ndarray, c: Correction
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
    k, alpha = c.params["k"], c.params["alpha"]
    started = time.perf_counter()
    ranker = NNNRanker(retriever, items, bank, alternate_ks=k, alternate_weight=alpha)
    print(f"nnn-retrieval: IVF{lists},Flat, built in {time.perf_counter() - started:.0f} s")

    def search(query: np.ndarray) -> pa.Table:
        _, rows = ranker.search(query[None], TOP)
        return pa.table({"id": [str(row) for row in rows[0]]})

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
    parser.add_argument("--peer", action="store_true", help="measure nnn-retrieval too")
    options = parser.parse_args()
    items, _ = grow(options.pairs, options.rows, 0)
    bank_items, bank_texts = grow(options.pairs, BANK, 1)
    _, queries = grow(options.pairs, options.queries, 2)
    c = fit("nnn", gallery=items, query_bank=bank_texts, gallery_bank=bank_items)
    direction = Direction(
        "text", "image", c.method, c.params, "", 0, centre=float(c.bias.mean()), scale=BIAS_SCALE
    )
    raw = queries @ items.T
    exact = {"raw": np.argsort(-raw)[:, :TOP], "corrected": np.argsort(c.bias - raw)[:, :TOP]}
    with tempfile.TemporaryDirectory() as folder:
        tables = Tables(folder)
        write_gallery(tables, c, direction)
        directions = {direction.name: direction}
        settings = Index(type=options.type)
        index = index_gallery(tables, NAME, "image", directions, bank_of(bank_texts), settings)
        table = tables.open(NAME)
        indexed, scanned = OpenGallery(table, "image", index), OpenGallery(table, "image")
        print(f"{options.rows:,} x {items.shape[1]}: {index.type}, {index.partitions} partitions,")
        print(f"{index.bytes / 1e6:.0f} MB, built in {index.seconds:.0f} s", *index.notes, sep="\n")
        for name, probes in index.probes.items():
            print(name, *probes, sep="\n  ")
        peers = []
        if options.peer:
            peers.append(nnn_retrieval(items, bank_texts, queries, exact["corrected"], c))
        report(indexed, scanned, {"text": direction}, queries, exact, index, peers)


def report(
    indexed: OpenGallery,
    scanned: OpenGallery,
    directions: dict[str, Direction],
    queries: np.ndarray,
    exact: dict[str, np.ndarray],
    index: GalleryIndex,
    peers: list[Case],
) -> None:
    """Print recall@10 and latency of each way to search."""

    def corrected(gallery: OpenGallery) -> Callable[[np.ndarray], pa.Table]:
        return lambda q: (
            search_corrected(
                gallery, [WeightedInput("text", q, 1.0)], directions, ["id"], None, TOP
            ).rows
        )

    def bare(query: np.ndarray) -> pa.Table:
        (probe, *_) = index.probes["text->image raw"]
        table: lance.LanceDataset = indexed.table
        nearest = {"column": "vector", "q": query_vector(query, {}, {}), "k": TOP}
        nearest |= {"minimum_nprobes": probe.nprobes, "maximum_nprobes": probe.nprobes}
        nearest["refine_factor"] = probe.refine
        return table.scanner(columns=["id", "_distance"], nearest=nearest).to_table()

    cases = [Case("corrected, index", corrected(indexed), exact["corrected"])]
    if index.probes.get("text->image raw"):
        cases.append(Case("raw, Lance alone, index", bare, exact["raw"]))
    cases += peers
    scan = Case("corrected, scan", corrected(scanned), exact["corrected"])
    for case in (*cases, scan):
        case.search(queries[0])  # opens files
    for number, query in enumerate(queries):  # in turns: the load of the machine is the same
        for case in cases:
            case.measure(number, query)
    for number, query in enumerate(queries):  # apart: a scan drives the index out of the caches
        scan.measure(number, query)
    print("\n| search | recall@10 | p50, ms | p99, ms |\n|---|---|---|---|")
    for case in (*cases, scan):
        p50, p99 = 1000 * np.quantile(case.seconds, (0.5, 0.99))
        print(f"| {case.name} | {np.mean(case.shares):.4f} | {p50:.1f} | {p99:.1f} |")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"peak memory, with what the benchmark keeps itself: {peak:.2f} GB")


if __name__ == "__main__":
    main()
