"""numpy and torch under one roof, without importing torch.

A torch tensor can only be handed to us by someone who has imported torch, so it is taken from
`sys.modules`. Tensors on the CPU are computed on as numpy arrays that share their memory: numpy's
sparse candidate selection is faster there than torch's. Tensors on a device stay on it.
"""

import sys
from typing import Any

import numpy as np

from store.errors import InputError

Array = Any  # numpy.ndarray or torch.Tensor, shapes and dtypes are given where it is used

# Rows this near to unit length are taken as they are: half-precision storage is off by 1e-3.
UNIT_TOLERANCE = 2e-3
BLOCK = 8192


def is_torch(x: Array) -> bool:
    return type(x).__module__.partition(".")[0] == "torch"


def namespace(x: Array) -> Any:
    """The module whose functions take `x`: numpy or torch."""
    return sys.modules["torch"] if is_torch(x) else np


def on_host(x: Array) -> Array:
    """`x` as numpy, sharing its memory, unless it is a tensor on a device: that stays there."""
    if is_torch(x):
        x = x.detach()
        return x.numpy() if x.device.type == "cpu" else x
    return np.asarray(x)


def as_matrix(x: Array, name: str) -> Array:
    """`x` as a (rows, dims) array to compute on; nothing is copied unless its type demands it.

    Raises InputError, naming the argument, for anything but a matrix of numbers.
    """
    x = on_host(x.float() if "bfloat16" in str(getattr(x, "dtype", "")) else x)
    if not is_torch(x) and x.dtype.kind not in "fiu":
        raise InputError(f"{name} must hold numbers, but its dtype is {x.dtype}")
    if x.ndim != 2 or x.shape[1] == 0:
        raise InputError(f"{name} must be a matrix (rows, dims), but its shape is {tuple(x.shape)}")
    return x


def as_bank(x: Array, name: str) -> Array:
    """A whole bank, validated, as unit float32 rows."""
    matrix = as_matrix(x, name)
    if matrix.shape[0] == 0:
        raise InputError(f"{name} is empty: give at least one row, and better a thousand or more")
    return unit(matrix, name)


def float32(x: Array) -> Array:
    return x.float() if is_torch(x) else np.asarray(x, dtype=np.float32)


def lengths(x: Array) -> Array:
    return namespace(x).einsum("ij,ij->i", x, x) ** 0.5


def unit(rows: Array, name: str) -> Array:
    """`rows` as float32 of unit length; a copy only where dtype or lengths call for one.

    Raises InputError naming the first row that is zero, NaN or infinite.
    """
    xp = namespace(rows)
    single = float32(rows)
    near = abs(lengths(single) - 1) <= UNIT_TOLERANCE
    if bool(near.all()):
        return single
    out = full_like(single, tuple(single.shape), 0.0, "float32")
    for start in range(0, rows.shape[0], BLOCK):  # float64 of all rows at once is too much
        double = rows[start : start + BLOCK]
        double = double.double() if is_torch(rows) else double.astype(np.float64)
        length = lengths(double)
        for problem, bad in (("NaN or infinite", ~xp.isfinite(length)), ("zero", length == 0)):
            if bool(bad.any()):
                row = start + int(to_numpy(bad).argmax())
                raise InputError(
                    f"row {row} of {name} is {problem}; every row must be a finite, non-zero vector"
                )
        scale = xp.where(near[start : start + BLOCK], 1.0, length)
        out[start : start + BLOCK] = float32(double / scale[:, None])
    return out


def to_numpy(x: Array) -> np.ndarray:
    return x.detach().cpu().numpy() if is_torch(x) else np.asarray(x)


def beside(x: Array, other: Array) -> Array:
    """`x` as an array of `other`'s kind and on its device."""
    if is_torch(other):
        return namespace(other).as_tensor(x, device=other.device)
    return to_numpy(x)


def full_like(x: Array, shape: tuple[int, ...], value: float, dtype: str) -> Array:
    """An array of `x`'s kind and device; `dtype` by name ("float32", "int64")."""
    if is_torch(x):
        torch = namespace(x)
        return torch.full(shape, value, dtype=getattr(torch, dtype), device=x.device)
    return np.full(shape, value, dtype=dtype)


def empty_like(x: Array, shape: tuple[int, ...], dtype: str) -> Array:
    """`full_like` without a value: memory is best touched first by the thread that fills it."""
    if is_torch(x):
        torch = namespace(x)
        return torch.empty(shape, dtype=getattr(torch, dtype), device=x.device)
    return np.empty(shape, dtype=dtype)
