"""Compares the layers of the encoders of a space's aligned towers on pairs of the corpus.

Which layer of a frozen encoder is aligned is the user's choice (`?layer=N` of its spec): it changes
what is embedded. This shows which one is most alike the other side (`embedders.alignment.layers`).
"""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from rich.progress import track

from embedders.alignment.layers import NEIGHBOURS, mutual_neighbours
from embedders.corpus_space import corpus_space
from embedders.encoder import Encoder
from embedders.layers import OPTION, layered
from embedders.registry import load_encoder, parse_spec
from embedders.spaces import Space
from pipelines.decisions.kept_samples import kept_samples
from pipelines.engine.progress import console
from pipelines.vectors.align import MIN_PAIRS, aligned_pairs, steps_of
from store.errors import InputError, RecordError
from store.tables.table_version import TableVersion, take_rows
from store.workspace import Workspace

_BATCH = 32


@dataclass(frozen=True)
class ComparedLayers:
    """The layers of a tower's encoder, beside those of one that it is aligned by.

    Attributes:
        modality: of the tower.
        anchor: the other modality.
        specs: of each layer of the tower's encoder, the last of its own vectors.
        anchor_specs: the same of the anchor; one spec if its vectors are kept.
        shares: (len(specs), len(anchor_specs)) mutual nearest neighbours.
        pairs: that were compared.
        chance: the share by chance.
    """

    modality: str
    anchor: str
    specs: list[str]
    anchor_specs: list[str]
    shares: np.ndarray
    pairs: int
    chance: float

    @property
    def best(self) -> tuple[str, str]:
        """The specs with the largest share; of equal ones the last, which are the usual ones."""
        reverse = self.shares[::-1, ::-1]
        row, column = np.unravel_index(int(reverse.argmax()), reverse.shape)
        return self.specs[-1 - row], self.anchor_specs[-1 - column]


def compare_layers(workspace: Workspace, count: int = 1000) -> list[ComparedLayers]:
    """Compare the layers of all aligned towers of the space.

    Args:
        workspace: of the space.
        count: at most so many pairs are encoded, those of the smallest ids.

    Raises:
        InputError: no tower is aligned, or there are too few pairs.
        EncoderError: an encoder cannot be loaded, or offers no layers.
        NotFoundError: the corpus has no decisions yet.
    """
    steps, space = steps_of(workspace, None), corpus_space(workspace)
    sides = [(m, anchor, bool(others)) for m, *others in steps for anchor in space.aligned[m].by]
    with TemporaryDirectory() as folder, kept_samples(workspace, Path(folder)) as kept:
        drawn = [aligned_pairs(kept, m, [anchor]).slice(0, count) for m, anchor, _ in sides]
    return [
        _compare(workspace, space, *side, pairs) for side, pairs in zip(sides, drawn, strict=True)
    ]


def _compare(
    workspace: Workspace,
    space: Space,
    modality: str,
    anchor: str,
    two_sided: bool,
    pairs: pa.Table,
) -> ComparedLayers:
    own, own_rows = _encoded(workspace, modality, _bare(space, modality), pairs, True)
    spec = _bare(space, anchor) if two_sided else space.towers[anchor]
    other, other_rows = _encoded(workspace, anchor, spec, pairs, two_sided)
    present = np.isfinite(own_rows[0]).all(axis=1) & np.isfinite(other_rows[0]).all(axis=1)
    if present.sum() < MIN_PAIRS:
        raise InputError(
            f"{present.sum()} pairs of {modality} with {anchor} are too few to compare layers: at"
            f" least {MIN_PAIRS} are needed"
        )
    clusters = pc.dictionary_encode(pairs["cluster"].combine_chunks()).indices.to_numpy()
    shares = mutual_neighbours(
        [rows[present] for rows in own_rows],
        [rows[present] for rows in other_rows],
        groups=clusters[present].astype(np.int64),
    )
    total = int(present.sum())
    return ComparedLayers(modality, anchor, own, other, shares, total, NEIGHBOURS / (total - 1))


def _bare(space: Space, modality: str) -> str:
    """The spec of an aligned tower's encoder without a layer."""
    return str(parse_spec(space.aligned[modality].encoder).without(OPTION))


def _encoded(
    workspace: Workspace, modality: str, spec: str, pairs: pa.Table, with_layers: bool
) -> tuple[list[str], list[np.ndarray]]:
    """The specs of an encoder's layers and itself, and their rows; NaN where it refuses a part."""
    encoder, tables = load_encoder(spec), workspace.tables
    samples = TableVersion(tables, "samples", tables.version("samples"))
    dims = list(layered(encoder).layer_dims) if with_layers else []
    numbers = range(1, len(dims) + 1)
    specs = [*(str(parse_spec(spec).with_options(**{OPTION: str(n)})) for n in numbers), spec]
    widths = [*dims, encoder.dim]
    rows = [np.full((pairs.num_rows, width), np.nan, np.float32) for width in widths]
    for start in track(
        range(0, pairs.num_rows, _BATCH),
        f"layers, {modality}",
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ):
        numbers_of, prepared = _prepared(samples, modality, encoder, pairs.slice(start, _BATCH))
        if not prepared:
            continue
        if with_layers:
            layers, vectors = layered(encoder).encode_layers(prepared)
            outputs = [*layers, vectors]
        else:
            outputs = [encoder.encode(prepared)]
        for side, output in zip(rows, outputs, strict=True):
            side[start + numbers_of] = output
    return specs, rows


def _prepared(
    samples: TableVersion, modality: str, encoder: Encoder, pairs: pa.Table
) -> tuple[np.ndarray, list[Any]]:
    """The numbers of the pairs whose part can be used, and these parts, prepared."""
    raws = take_rows(samples, pairs["row"].to_pylist(), [modality])[modality].to_pylist()
    if modality == "text":
        raws = [r or raw for r, raw in zip(pairs["repair_text"].to_pylist(), raws, strict=True)]
    numbers, prepared = [], []
    for number, raw in enumerate(raws):
        try:
            prepared.append(encoder.prepare(raw))
        except RecordError:
            continue
        numbers.append(number)
    return np.array(numbers, np.int64), prepared
