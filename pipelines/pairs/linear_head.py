"""A linear head over vectors, by path: LAION's aesthetic predictor v1 (Schuhmann et al. 2022,
LAION-5B), which is one layer over CLIP's image vectors.

A head means something in the space that it was trained in, and nowhere else.
"""

from pathlib import Path

import numpy as np

from store.errors import EncoderError, InputError


class LinearHead:
    """x . weight + bias, from a file.

    Args:
        path: a safetensors file, an .npz, or a state dict of torch (.pt, .pth) of one
            `torch.nn.Linear` with one output: `weight` (1, d) and `bias` (1,), whatever is put
            before these names.

    Raises EncoderError: the file holds something else, or what is no number.
    """

    def __init__(self, path: Path):
        tensors = {name.rpartition(".")[2]: values for name, values in _read(path).items()}
        if set(tensors) != {"weight", "bias"} or tensors["bias"].size != 1:
            shown = ", ".join(f"{n} {v.shape}" for n, v in tensors.items())
            raise EncoderError(f"{path}: a weight (1, d) and a bias (1,) are needed, found {shown}")
        self.weight = tensors["weight"].astype(np.float32).reshape(-1)
        self.bias = float(tensors["bias"].reshape(()))
        if not np.isfinite([*self.weight, self.bias]).all():
            raise EncoderError(f"{path}: a weight or the bias is not a finite number")

    def __call__(self, vectors: np.ndarray) -> np.ndarray:
        """(n,) float32 scores of unit rows (n, d). Raises InputError for another width."""
        if vectors.ndim != 2 or vectors.shape[1] != len(self.weight):
            raise InputError(f"the head takes (n, {len(self.weight)}), not {vectors.shape}")
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
    except Exception as error:  # each format raises its own
        raise EncoderError(f"{path}: no linear head can be read: {error}") from error
