"""Where a model runs, and in which precision.

Models run on the GPU that the process has, else on the CPU. The default precision is bf16 on a GPU
(fp16 on one without bf16) and fp32 on a CPU.
"""

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
    """The GPU that this process has, else the CPU."""
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def check_precision(option: str | None) -> str | None:
    """Return a spec's option `precision` if it is allowed.

    Raises:
        EncoderError: it is not one of PRECISIONS.
    """
    if option is not None and option not in PRECISIONS:
        raise EncoderError(f"precision={option!r}; allowed: {', '.join(PRECISIONS)}")
    return option


def check_bool(option: str, name: str) -> bool:
    """Parse a spec's option that is true or false.

    Raises:
        EncoderError: it is neither.
    """
    if option not in ("true", "false"):
        raise EncoderError(f"{name}={option!r}; allowed: true, false")
    return option == "true"


def precision(option: str | None) -> str:
    """The precision that a model runs in: that of the option, else the device's default."""
    if option is not None:
        return option
    import torch

    if device().type == "cpu":
        return "fp32"
    return "bf16" if torch.cuda.is_bf16_supported() else "fp16"


def autocast(option: str | None) -> AbstractContextManager:
    """Run a model of fp32 weights in `precision(option)` within the block."""
    import torch

    kind = precision(option)
    if kind == "fp32":
        return nullcontext()
    dtype = torch.bfloat16 if kind == "bf16" else torch.float16
    return torch.autocast(device().type, dtype=dtype)


def to_device(array: np.ndarray) -> "torch.Tensor":
    """Copy an array to the device.

    On a GPU it goes through page-locked memory, so that copying overlaps with computation.
    """
    import torch

    tensor = torch.from_numpy(array)
    if device().type == "cpu":
        return tensor
    return tensor.pin_memory().to(device(), non_blocking=True)


def normalise_pixels(pixels: Any, mean: Sequence[float], std: Sequence[float]) -> Any:
    """Subtract the mean of each channel and divide by its standard deviation.

    Args:
        pixels: uint8 tensor (n, 3, height, width).
        mean: of each channel, for pixels scaled to 0..1.
        std: of each channel, for pixels scaled to 0..1.

    Returns:
        Float32 tensor of the same shape.
    """
    import torch

    centre, scale = (
        torch.tensor(values, device=pixels.device).mul(255).view(1, 3, 1, 1)
        for values in (mean, std)
    )
    return (pixels.float() - centre) / scale


def to_numpy(tensor: Any) -> np.ndarray:
    """Copy a tensor to the CPU as a float32 array."""
    return tensor.float().cpu().numpy()
