"""Where a model runs, and in which precision: bf16 on a GPU, fp32 on CPUs, unless asked."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from store.errors import EncoderError

if TYPE_CHECKING:
    import torch

PRECISIONS = ("fp32", "bf16", "fp16")


@cache
def device() -> "torch.device":
    """The GPU that this process was given, else the CPU."""
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def checked(asked: str | None) -> str | None:
    """A spec's `precision` as it came. Raises EncoderError where it is none of PRECISIONS."""
    if asked is not None and asked not in PRECISIONS:
        raise EncoderError(f"precision={asked!r}: allowed are {', '.join(PRECISIONS)}")
    return asked


def precision(asked: str | None) -> str:
    """What is asked for; else bf16 on a GPU (fp16 where it has none), fp32 on a CPU."""
    if asked is not None:
        return asked
    import torch

    if device().type == "cpu":
        return "fp32"
    return "bf16" if torch.cuda.is_bf16_supported() else "fp16"


def autocast(asked: str | None) -> AbstractContextManager:
    """Run a model of fp32 weights in `precision(asked)`."""
    import torch

    kind = precision(asked)
    if kind == "fp32":
        return nullcontext()
    dtype = torch.bfloat16 if kind == "bf16" else torch.float16
    return torch.autocast(device().type, dtype=dtype)


def to_device(array: np.ndarray) -> "torch.Tensor":
    """A copy on the device; from page-locked memory on a GPU, so that it overlaps with work."""
    import torch

    tensor = torch.from_numpy(array)
    if device().type == "cpu":
        return tensor
    return tensor.pin_memory().to(device(), non_blocking=True)


def normalised(pixels: Any, mean: Sequence[float], std: Sequence[float]) -> Any:
    """Float32 (n, 3, h, w) of bytes of that shape, channels brought to mean 0 and deviation 1;
    `mean` and `std` are of values from 0 to 1."""
    import torch

    centre, scale = (
        torch.tensor(values, device=pixels.device).mul(255).view(1, 3, 1, 1)
        for values in (mean, std)
    )
    return (pixels.float() - centre) / scale


def to_numpy(tensor: Any) -> np.ndarray:
    """Float32, on the CPU."""
    return tensor.float().cpu().numpy()


def yes(option: str, name: str) -> bool:
    """An option of a spec that is true or false. Raises EncoderError."""
    if option not in ("true", "false"):
        raise EncoderError(f"{name}={option!r}: allowed are true and false")
    return option == "true"
