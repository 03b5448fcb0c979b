"""One set of array functions for numpy arrays and torch tensors, without importing torch.

A caller who passes a torch tensor has already imported torch, so the module is taken from
`sys.modules`. Tensors on the CPU are processed as numpy arrays that share their memory, because the
sparse selection of top-k candidates is faster in numpy than in torch. Tensors on a device stay
there.
"""

import sys
from typing import Any

import numpy as np

from store.errors import InputError

Array = Any  # numpy.ndarray or torch.Tensor; each function states shapes and dtypes

# A row this close to unit length is not scaled: storage in half precision changes lengths by 1e-3.
UNIT_TOLERANCE = 2e-3
BLOCK = 8192


def is_torch(x: Array) -> bool:
    return type(x).__module__.partition(".")[0] == "torch"


def namespace(x: Array) -> Any:
    """The module whose functions accept `x`: numpy or torch."""
    return sys.modules["torch"] if is_torch(x) else np


def numpy_if_cpu(x: Array) -> Array:
    """`x` as a numpy array that shares its memory; a tensor on a device is returned as a tensor."""
    if is_torch(x):
        x = x.detach()
        return x.numpy() if x.device.type == "cpu" else x
    return np.asarray(x)


def as_matrix(x: Array, name: str) -> Array:
    """`x` as a numeric (rows, dims) array, copied only if its type requires it.

    Args:
        x: a numpy array, a torch tensor, or nested lists of numbers.
        name: name of the argument, for error messages.

    Raises:
        InputError: `x` is not a matrix of numbers.
    """
    x = numpy_if_cpu(x.float() if "bfloat16" in str(getattr(x, "dtype", "")) else x)
    if not is_torch(x) and x.dtype.kind not in "fiu":
        raise InputError(f"{name} must hold numbers, but its dtype is {x.dtype}")
    if x.ndim != 2 or x.shape[1] == 0:
        raise InputError(f"{name} must be a matrix (rows, dims), but its shape is {tuple(x.shape)}")
    return x


def as_bank(x: Array, name: str) -> Array:
    """A bank as float32 rows of unit length. Raises InputError if it is empty or not valid."""
    matrix = as_matrix(x, name)
    if matrix.shape[0] == 0:
        raise InputError(f"{name} is empty: give at least one row, and preferably 1,000 or more")
    return unit_rows(matrix, name)


def as_float32(x: Array) -> Array:
    return x.float() if is_torch(x) else np.asarray(x, dtype=np.float32)


def row_norms(x: Array) -> Array:
    """(n,) Euclidean lengths of the rows of `x` (n, d)."""
    return namespace(x).einsum("ij,ij->i", x, x) ** 0.5


def unit_rows(rows: Array, name: str) -> Array:
    """`rows` as float32 of unit length, copied only if dtype or lengths require it.

    Args:
        rows: (n, d), as `as_matrix` returns it.
        name: name of the argument, for error messages.

    Raises:
        InputError: a row is zero, NaN or infinite; the message names the first such row.
    """
    xp = namespace(rows)
    single = as_float32(rows)
    is_unit = abs(row_norms(single) - 1) <= UNIT_TOLERANCE
    if bool(is_unit.all()):
        return single
    out = full_like(single, tuple(single.shape), 0.0, "float32")
    for start in range(0, rows.shape[0], BLOCK):  # all rows in float64 would take too much memory
        double = rows[start : start + BLOCK]
        double = double.double() if is_torch(rows) else double.astype(np.float64)
        norms = row_norms(double)
        for problem, bad in (("NaN or infinite", ~xp.isfinite(norms)), ("zero", norms == 0)):
            if bool(bad.any()):
                row = start + int(to_numpy(bad).argmax())
                raise InputError(
                    f"row {row} of {name} is {problem}; every row must be a finite, non-zero vector"
                )
        scale = xp.where(is_unit[start : start + BLOCK], 1.0, norms)
        out[start : start + BLOCK] = as_float32(double / scale[:, None])
    return out


def to_numpy(x: Array) -> np.ndarray:
    return x.detach().cpu().numpy() if is_torch(x) else np.asarray(x)


def convert_like(x: Array, other: Array) -> Array:
    """`x` as an array of the same kind as `other` (numpy or torch), on the same device."""
    if is_torch(other):
        return namespace(other).as_tensor(x, device=other.device)
    return to_numpy(x)


def full_like(x: Array, shape: tuple[int, ...], value: float, dtype: str) -> Array:
    """An array filled with `value`, of the kind and on the device of `x`.

    `dtype` is a name such as "float32" or "int64".
    """
    if is_torch(x):
        torch = namespace(x)
        return torch.full(shape, value, dtype=getattr(torch, dtype), device=x.device)
    return np.full(shape, value, dtype=dtype)


def empty_like(x: Array, shape: tuple[int, ...], dtype: str) -> Array:
    """As `full_like`, but uninitialised: the thread that fills memory should touch it first."""
    if is_torch(x):
        torch = namespace(x)
        return torch.empty(shape, dtype=getattr(torch, dtype), device=x.device)
    return np.empty(shape, dtype=dtype)
