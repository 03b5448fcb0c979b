"""Projections: learned maps from an encoder's features into a space, applied in plain numpy."""

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
_METADATA_KEY = "isotrope"
ALIGN = "`isotrope align` (with `--space NAME` if it is not the main space)"
BRIDGE = "`isotrope bridge OLD NEW`"


@dataclass(frozen=True)
class Projection:
    """A linear map, or an mlp with one hidden layer beside a linear map.

    Maps rows x (n, d_in) to unit rows (n, d_out): norm(xW + b), and for an mlp
    norm(xW + b + gelu(xH + h)O).

    Args:
        tensors: float32. `weight` W (d_in, d_out) and `bias` b (d_out,); for an mlp also
            `hidden_weight` H (d_in, width), `hidden_bias` h (width,) and `out_weight` O
            (width, d_out).
        meta: JSON values that say what it was learned from and how well it does.

    Raises:
        InputError: the tensors do not fit together, or are not finite.
    """

    tensors: Mapping[str, np.ndarray]
    meta: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        kind = next((k for k, names in _TENSORS.items() if set(names) == set(self.tensors)), None)
        if kind is None:
            raise InputError(f"a projection has the tensors {LINEAR} or {MLP}")
        shapes = {name: np.shape(tensor) for name, tensor in self.tensors.items()}
        if len(shapes["weight"]) != 2 or shapes != _expected_shapes(kind, shapes):
            raise InputError(f"the tensors of a projection do not fit together: {shapes}")
        if not all(np.isfinite(tensor).all() for tensor in self.tensors.values()):
            raise InputError("a projection's tensors must be finite")

    @property
    def kind(self) -> str:
        """`linear` or `mlp`."""
        return "mlp" if "hidden_weight" in self.tensors else "linear"

    @property
    def dim_in(self) -> int:
        return self.tensors["weight"].shape[0]

    @property
    def dim(self) -> int:
        return self.tensors["weight"].shape[1]

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the tensors, 16 hex digits. Equal fingerprints give equal rows."""
        digest = hashlib.blake2b(self.kind.encode(), digest_size=8)
        for name in _TENSORS[self.kind]:
            tensor = np.ascontiguousarray(self.tensors[name], np.float32)
            digest.update(repr(tensor.shape).encode() + tensor.tobytes())
        return digest.hexdigest()

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """Project rows (n, d_in) to float32 unit rows (n, d_out).

        Raises:
            InputError: the rows are not (n, d_in).
        """
        x = np.asarray(rows, np.float32)
        if x.ndim != 2 or x.shape[1] != self.dim_in:
            raise InputError(
                f"the projection takes rows of {self.dim_in} numbers, not an array of {x.shape}"
            )
        t = self.tensors
        out = x @ t["weight"] + t["bias"]
        if self.kind == "mlp":
            out += gelu(x @ t["hidden_weight"] + t["hidden_bias"]) @ t["out_weight"]
        return unit_rows(out)

    def save(self, path: Path, dtype: Any = np.float32) -> None:
        """Write a safetensors file. Float16 halves its size and keeps three digits."""
        from safetensors.numpy import save_file

        tensors = {n: np.ascontiguousarray(t, dtype) for n, t in self.tensors.items()}
        save_file(tensors, path, {_METADATA_KEY: json.dumps(dict(self.meta), sort_keys=True)})

    @classmethod
    def load(cls, path: Path) -> "Projection":
        """Read a file that `save` wrote.

        Raises:
            EncoderError: the file is missing or is not a projection.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="numpy") as file:
                tensors = {n: file.get_tensor(n).astype(np.float32) for n in file.keys()}  # noqa: SIM118
                meta = json.loads((file.metadata() or {}).get(_METADATA_KEY, "{}"))
            return cls(tensors, meta)
        except (OSError, SafetensorError, ValueError) as error:
            raise EncoderError(f"{path} is not a projection that can be read: {error}") from error


class ProjectedEncoder:
    """An encoder whose vectors are projected. It is an `Encoder` itself.

    Args:
        encoder: the encoder, which may be projected itself.
        file: the projection's file, read on first use; "" if none has been learned yet.
        command: that learns the projection, for error messages.
    """

    def __init__(self, encoder: Encoder, file: str, command: str = ALIGN):
        self.encoder = encoder
        self.file = file
        self.command = command
        self.name = encoder.name
        self.version = encoder.version
        self.modality = encoder.modality

    @cached_property
    def projection(self) -> Projection:
        """The projection.

        Raises:
            NotAlignedError: none has been learned yet.
            EncoderError: its file cannot be read, or does not fit the encoder.
        """
        if not self.file:
            raise NotAlignedError(
                f"{self.name} has not been aligned with its space yet: run {self.command}"
            )
        projection = Projection.load(Path(self.file))
        if projection.dim_in != self.encoder.dim:
            raise EncoderError(
                f"{self.file} projects rows of {projection.dim_in} numbers, but {self.name} makes"
                f" rows of {self.encoder.dim}: learn another projection with {self.command}"
            )
        return projection

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


def gelu(x: np.ndarray) -> np.ndarray:
    """GELU in its tanh form (Hendrycks and Gimpel 2016), which needs no error function."""
    return 0.5 * x * (1 + np.tanh(np.float32(0.7978845608) * (x + 0.044715 * x * x * x)))


def _expected_shapes(
    kind: str, shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, tuple[int, ...]]:
    """The shapes that the tensors must have, given those of `weight` and `hidden_bias`."""
    dim_in, dim = shapes["weight"]
    expected: dict[str, tuple[int, ...]] = {"weight": (dim_in, dim), "bias": (dim,)}
    if kind == "mlp":
        width = shapes["hidden_bias"][0] if shapes["hidden_bias"] else 0
        expected |= {"hidden_weight": (dim_in, width), "hidden_bias": (width,)}
        expected["out_weight"] = (width, dim)
    return expected
