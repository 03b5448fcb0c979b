"""A linear head over vectors, read from a file.

It is made for LAION's aesthetic predictor v1 (Schuhmann et al. 2022, LAION-5B), which is one linear
layer over the image vectors of CLIP. A head is valid only in the space in which it was trained.
"""

from pathlib import Path

import numpy as np

from store.errors import EncoderError, InputError


class LinearHead:
    """x . weight + bias, from a file.

    Args:
        path: a file of one `torch.nn.Linear` with one output: safetensors, .npz, or a state dict
            of torch (.pt, .pth). It holds `weight` (1, d) and `bias` (1,). The names may have a
            prefix that ends with a dot.

    Raises:
        EncoderError: the file cannot be read, holds other tensors, or has values that are not
            finite.
    """

    def __init__(self, path: Path):
        tensors = {name.rpartition(".")[2]: values for name, values in _read(path).items()}
        if set(tensors) != {"weight", "bias"} or tensors["bias"].size != 1:
            shapes = ", ".join(f"{n} {v.shape}" for n, v in tensors.items())
            raise EncoderError(
                f"{path}: must hold a weight (1, d) and a bias (1,), but holds {shapes}"
            )
        self.weight = tensors["weight"].astype(np.float32).reshape(-1)
        self.bias = float(tensors["bias"].reshape(()))
        if not np.isfinite([*self.weight, self.bias]).all():
            raise EncoderError(f"{path}: a weight or the bias is not a finite number")

    def __call__(self, vectors: np.ndarray) -> np.ndarray:
        """Score vectors.

        Args:
            vectors: unit rows (n, d).

        Returns:
            Float32 (n,).

        Raises:
            InputError: the vectors have another dimension than the head.
        """
        if vectors.ndim != 2 or vectors.shape[1] != len(self.weight):
            raise InputError(f"the head takes vectors (n, {len(self.weight)}), not {vectors.shape}")
        return (vectors @ self.weight + self.bias).astype(np.float32)


def _read(path: Path) -> dict[str, np.ndarray]:
    try:
        if path.suffix == ".safetensors":
            from safetensors.numpy import load_file

            return load_file(path)
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                return dict(arrays)
        import torch

        state = torch.load(path, map_location="cpu", weights_only=True)
        return {name: tensor.float().numpy() for name, tensor in state.items()}
    except Exception as error:  # each format raises its own types
        raise EncoderError(f"{path}: cannot read a linear head from it: {error}") from error
