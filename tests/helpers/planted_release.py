"""A release of given vectors, so that its right answers are known: every direction is corrected."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

import isotrope
from pipelines.release.part_weights import learn_part_weights
from store.arrow import vector_column
from store.corrections import fit
from store.search.vector_layout import fold
from store.tables import releases, schema
from store.tables.banks import Banks
from store.tables.direction import Direction
from store.tables.indexes import GalleryIndex
from store.tables.lance_tables import Tables
from tests.helpers.release_tables import bank_rows, write_gallery

SPACE = "planted"


class Parts(NamedTuple):
    """Parts of one modality: the numbers of their samples (n,), and unit vectors (n, d)."""

    samples: np.ndarray
    vectors: np.ndarray


def unit_rows(rows: np.ndarray) -> np.ndarray:
    """Rows of unit length, float32."""
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def publish(
    root: Path,
    parts: Mapping[str, Parts],
    banks: Mapping[str, np.ndarray],
    *,
    keys: Sequence[str] | None = None,
    captions: Sequence[str | None] | None = None,
    method: str = "nnn",
    held_out: Mapping[str, Mapping[str, Parts]] | None = None,
    more: Mapping[str, pa.Table] | None = None,
) -> "isotrope.Corpus":
    """Publish galleries of parts, and open the corpus.

    Args:
        root: an empty folder.
        parts: by modality.
        banks: vectors (m, d) by modality that corrections are fitted on. Row n of all of them is
            of one sample, which is not in a gallery.
        keys: of the samples, by number. Default: the number.
        captions: of the samples, by number.
        method: of all directions between these modalities.
        held_out: the parts in the splits of pairs, by split and modality. With them, weights of
            parts are learned.
        more: further tables of the release.
    """
    tables, versions, directions = Tables(root), {}, {}
    dim = next(iter(parts.values())).vectors.shape[1]
    for modality, own in parts.items():
        bias = {}
        for query, bank in banks.items():
            fitted = fit(method, gallery=own.vectors, query_bank=bank, gallery_bank=banks[modality])
            scores = fitted.vectors @ bank.T - fitted.bias[:, None]
            zero, high = float(scores.mean()), float(np.quantile(scores, 0.98))
            bias[query] = fitted.bias
            directions[f"{query}->{modality}"] = Direction(
                query, modality, fitted.method, fitted.params, "", 0, zero, high - zero,
                centre=float(fitted.bias.mean()),
            )  # fmt: skip
        name = f"gallery__{SPACE}__{modality}"
        by_query = {query: directions[f"{query}->{modality}"] for query in banks}
        _write(tables, name, modality, own, fold(own.vectors, bias, by_query), bias, keys, captions)
        versions[name] = tables.open(name).version
    name = f"banks__{SPACE}"
    rows = [bank_rows(banks, dim)]
    rows += [_held_out(split, own, dim) for split, own in (held_out or {}).items()]
    tables.replace(name, schema.banks(dim), pa.concat_tables(rows).to_batches(), "false")
    versions[name] = tables.open(name).version
    part_weights = None
    if held_out:
        opened = {m: tables.open(f"gallery__{SPACE}__{m}") for m in parts}
        part_weights = learn_part_weights(opened, Banks(pa.concat_tables(rows)), directions, {})
    for name, extra in (more or {}).items():
        tables.replace(name, extra.schema, extra.to_batches(), "false")
        versions[name] = tables.open(name).version
    releases.publish(
        tables,
        space=SPACE,
        space_config={},
        dim=dim,
        fingerprints={},
        banks={},
        versions=versions,
        directions=directions,
        evaluation={},
        policy="",
        indexes={m: GalleryIndex() for m in parts},
        part_weights=part_weights,
    )
    return isotrope.open_corpus(root)


def part_id(modality: str, sample: int) -> str:
    """The id of a part of a sample."""
    return f"{modality}-{sample:032x}"


def _held_out(split: str, parts: Mapping[str, Parts], dim: int) -> pa.Table:
    rows = []
    for modality, own in parts.items():
        for number, vector in zip(own.samples, own.vectors, strict=True):
            row = dict.fromkeys(("sample_id", "cluster"), f"{number:032x}")
            row |= dict.fromkeys(("origin", "encoder", "draw"), "x")
            row |= {"part_id": part_id(modality, number), "vector": vector.tolist()}
            rows.append(row | {"split": split, "modality": modality})
    return pa.Table.from_pylist(rows, schema=schema.banks(dim))


def _write(tables, name, modality, own, served, bias, keys, captions) -> None:
    rows = len(own.samples)
    ids = [f"{n:032x}" for n in own.samples]
    columns = {
        "part_id": [part_id(modality, n) for n in own.samples],
        "id": ids,
        "cluster": ids,
        "key": [keys[n] if keys else str(n) for n in own.samples],
        "caption": [captions[n] for n in own.samples] if captions else [None] * rows,
        "vector": vector_column(served),
        "sample_ids": [[each] for each in ids],
        "drops": [["d"]] * rows,
    }
    for m in schema.MODALITIES:
        columns[f"bias_{m}"] = bias.get(m, np.zeros(rows, np.float32))
        columns[f"hub_{m}"] = np.zeros(rows, bool)
    write_gallery(tables, name, schema.gallery(own.vectors.shape[1], []), columns, rows)
