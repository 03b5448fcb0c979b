"""Learned heads: from an encoder's features into a space, applied in plain numpy."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from embedders.encoder import Encoder, cost_of, unit_rows
from store.errors import EncoderError, InputError, NotAlignedError

LINEAR = ("weight", "bias")
MLP = (*LINEAR, "hidden_weight", "hidden_bias", "out_weight")
_TENSORS = {"linear": LINEAR, "mlp": MLP}
_META = "isotrope"


@dataclass(frozen=True)
class Projection:
    """Rows x (n, d_in) to unit rows (n, d_out): norm(xW + b), and for an mlp
    norm(xW + b + gelu(xH + h)O).

    Args:
        tensors: `weight` (d_in, d_out) and `bias` (d_out,); for an mlp `hidden_weight`
            (d_in, width), `hidden_bias` (width,) and `out_weight` (width, d_out) too. Float32.
        meta: what it was learned from and how well it does, as JSON values.

    Raises InputError where the tensors do not fit together.
    """

    tensors: Mapping[str, np.ndarray]
    meta: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        kind = next((k for k, names in _TENSORS.items() if set(names) == set(self.tensors)), None)
        if kind is None:
            raise InputError(f"a projection has the tensors {LINEAR} or {MLP}")
        shapes = {name: np.shape(tensor) for name, tensor in self.tensors.items()}
        if len(shapes["weight"]) != 2 or shapes != _shapes(kind, shapes):
            raise InputError(f"the tensors of a projection do not fit together: {shapes}")
        if not all(np.isfinite(tensor).all() for tensor in self.tensors.values()):
            raise InputError("a projection's tensors must be finite")

    @property
    def kind(self) -> str:
        """linear or mlp."""
        return "mlp" if "hidden_weight" in self.tensors else "linear"

    @property
    def dim_in(self) -> int:
        return self.tensors["weight"].shape[0]

    @property
    def dim(self) -> int:
        return self.tensors["weight"].shape[1]

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the tensors, 16 hex digits: equal fingerprints give equal rows."""
        digest = hashlib.blake2b(self.kind.encode(), digest_size=8)
        for name in _TENSORS[self.kind]:
            tensor = np.ascontiguousarray(self.tensors[name], np.float32)
            digest.update(repr(tensor.shape).encode() + tensor.tobytes())
        return digest.hexdigest()

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """Float32 (n, d_out) unit rows. Raises InputError where the rows are not (n, d_in)."""
        x = np.asarray(rows, np.float32)
        if x.ndim != 2 or x.shape[1] != self.dim_in:
            raise InputError(f"the projection takes rows of {self.dim_in} numbers, not {x.shape}")
        t = self.tensors
        out = x @ t["weight"] + t["bias"]
        if self.kind == "mlp":
            out += gelu(x @ t["hidden_weight"] + t["hidden_bias"]) @ t["out_weight"]
        return unit_rows(out)

    def save(self, path: Path, dtype: Any = np.float32) -> None:
        """Write one safetensors file; with float16 it is half as large and good to three digits."""
        from safetensors.numpy import save_file

        tensors = {n: np.ascontiguousarray(t, dtype) for n, t in self.tensors.items()}
        save_file(tensors, path, {_META: json.dumps(dict(self.meta), sort_keys=True)})

    @classmethod
    def load(cls, path: Path) -> "Projection":
        """Raises EncoderError where the file is missing or is no projection."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="numpy") as file:
                tensors = {n: file.get_tensor(n).astype(np.float32) for n in file.keys()}  # noqa: SIM118
                meta = json.loads((file.metadata() or {}).get(_META, "{}"))
            return cls(tensors, meta)
        except (OSError, SafetensorError, ValueError) as error:
            raise EncoderError(f"{path} is no projection: {error}") from error


def gelu(x: np.ndarray) -> np.ndarray:
    """The tanh form of GELU (Hendrycks and Gimpel 2016), which needs no error function."""
    return 0.5 * x * (1 + np.tanh(np.float32(0.7978845608) * (x + 0.044715 * x * x * x)))


def _shapes(kind: str, found: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """The shapes that the tensors must have, given those of `weight` and `hidden_bias`."""
    dim_in, dim = found["weight"]
    shapes: dict[str, tuple[int, ...]] = {"weight": (dim_in, dim), "bias": (dim,)}
    if kind == "mlp":
        width = found["hidden_bias"][0] if found["hidden_bias"] else 0
        shapes |= {"hidden_weight": (dim_in, width), "hidden_bias": (width,)}
        shapes["out_weight"] = (width, dim)
    return shapes


class Projected:
    """Args: the encoder, and the file of its projection, which is read when it is first needed."""

    def __init__(self, encoder: Encoder, file: str):
        self.encoder = encoder
        self.file = file
        self.name = encoder.name
        self.version = encoder.version
        self.modality = encoder.modality

    @cached_property
    def projection(self) -> Projection:
        """Raises NotAlignedError where there is none yet, EncoderError where it does not fit."""
        if not self.file:
            raise NotAlignedError(
                f"{self.name} has not been aligned with its space yet: `isotrope align`"
            )
        found = Projection.load(Path(self.file))
        if found.dim_in != self.encoder.dim:
            raise EncoderError(
                f"{self.file} projects rows of {found.dim_in} numbers, {self.name} makes"
                f" {self.encoder.dim}: `isotrope align` learns another"
            )
        return found

    @cached_property
    def dim(self) -> int:
        return self.projection.dim

    @cached_property
    def fingerprint(self) -> str:
        return f"{self.encoder.fingerprint}>{self.projection.fingerprint}"

    def prepare(self, raw: Any) -> Any:
        return self.encoder.prepare(raw)

    def cost(self, prepared: Any) -> float:
        return cost_of(self.encoder, prepared)

    def encode(self, batch: list[Any]) -> np.ndarray:
        return self.projection(self.encoder.encode(batch))
