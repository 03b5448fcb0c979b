"""ONNX models as scorers run them: one thread each, for there is a worker a core."""

import importlib.util
from pathlib import Path
from typing import Any

from store.errors import EncoderError


def session(path: Path) -> Any:
    """An onnxruntime session on the CPU, or on the GPU where its package for GPUs is installed.

    Raises EncoderError: the file is missing, or no model.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    there = onnxruntime.get_available_providers()
    wanted = [p for p in ("CUDAExecutionProvider", "CPUExecutionProvider") if p in there]
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=wanted)
    except Exception as error:  # its errors have no base of their own
        raise EncoderError(f"{path}: onnxruntime cannot load it: {error}") from error


def packaged(package: str, file: str) -> Path:
    """A file that comes with an installed package, which is not imported.

    Raises EncoderError: it is not installed.
    """
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise EncoderError(
            f"the package {package!r} is not installed; pip install isotrope[pipelines]"
        )
    return Path(found.submodule_search_locations[0], file)
