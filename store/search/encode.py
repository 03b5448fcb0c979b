"""Turns the inputs of queries into unit vectors: encodes texts and media, looks up ids."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from store.arrow import as_matrix
from store.errors import InputError, NotFoundError
from store.search.column_plan import WeightedInput
from store.search.inputs import Input, Inputs
from store.search.opened import OpenRelease
from store.search.vector_layout import unfold
from store.tables.lance_tables import one_of


class EncodedQuery(NamedTuple):
    """The inputs of one query as vectors, and the ids of the parts that it was given by id."""

    inputs: list[WeightedInput]
    own_parts: frozenset[str]


def encode_queries(opened: OpenRelease, queries: tuple[Inputs, ...]) -> list[EncodedQuery]:
    """Encode the inputs of several queries; equal inputs once, those of a modality in one batch.

    The vectors of texts, media and given vectors are logged, if there is a query log.

    Raises:
        InputError: an input cannot be used, or a vector does not fit the space.
        NotFoundError: the release has no part or sample of an id.
        EncoderError: an input cannot be encoded in the release's space.
    """
    vectors = _encode(opened, {i for inputs in queries for i in map(_unweighted, inputs)})
    parts = _look_up(opened, {i for inputs in queries for i in inputs if i.kind == "id"})
    encoded = []
    for inputs in queries:
        weighted, own = [], []
        for i in inputs:
            if i.kind == "id":
                rows = parts[str(i.value)]
                weighted += [replace(part, weight=i.weight / len(rows)) for _, part in rows]
                own += [part_id for part_id, _ in rows]
            else:
                vector = vectors[_unweighted(i)]
                weighted.append(WeightedInput(i.modality, vector, i.weight))
                if i.weight > 0:
                    opened.log({i.modality: vector})
        encoded.append(EncodedQuery(weighted, frozenset(own)))
    return encoded


def _unweighted(given: Input) -> Input:
    return Input(given.kind, given.value, modality=given.modality)


def _encode(opened: OpenRelease, inputs: set[Input]) -> dict[Input, np.ndarray]:
    """The unit vector of each input that is not an id."""
    vectors = {i: _unit(i, opened.release.dim) for i in inputs if i.kind == "vector"}
    by_modality: dict[str, list[Input]] = {}
    for i in inputs:
        if i.kind in ("text", "image", "audio"):
            by_modality.setdefault(i.modality, []).append(i)
    if by_modality:
        values = {m: [i.value for i in members] for m, members in by_modality.items()}
        encoded = opened.encode(values)
        for m, members in by_modality.items():
            vectors |= dict(zip(members, encoded[m], strict=True))
    return vectors


def _unit(given: Input, dim: int) -> np.ndarray:
    vector = given.vector
    if vector.shape != (dim,):
        raise InputError(
            f"the {given.modality} vector has shape {vector.shape}; vectors of the release's space"
            f" have shape ({dim},)"
        )
    # In float64: the length of huge or tiny numbers.
    return (vector / np.linalg.norm(vector.astype(np.float64))).astype(np.float32)


def _look_up(opened: OpenRelease, inputs: set[Input]) -> dict[str, list[tuple[str, WeightedInput]]]:
    """By id of a part or a sample: the ids of its parts, and these as inputs."""
    ids = sorted({str(i.value) for i in inputs})
    parts: dict[str, list[tuple[str, WeightedInput]]] = {each: [] for each in ids}
    if not ids:
        return parts
    for modality in opened.release.modalities:
        rows = opened.gallery_dataset(modality).to_table(
            columns=["part_id", "id", "vector"],
            filter=f"{one_of('part_id', ids)} OR {one_of('id', ids)}",
        )
        units = unfold(as_matrix(rows["vector"]), opened.release.dim)
        names = zip(rows["part_id"].to_pylist(), rows["id"].to_pylist(), units, strict=True)
        for part_id, sample_id, unit in names:
            for each in {part_id, sample_id} & set(ids):
                parts[each].append(
                    (part_id, WeightedInput(modality, unit, 1.0, sample_id, part_id))
                )
    if missing := [each for each in ids if not parts[each]]:
        raise NotFoundError(
            f"release {opened.release.number} has no part or sample {missing[0]!r}; the column id"
            " of results has ids"
        )
    return parts
