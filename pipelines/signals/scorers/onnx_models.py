"""ONNX models for scorers, and files of installed packages.

Models run on one thread each, because there is one worker process per core.
"""

import importlib.util
from pathlib import Path
from typing import Any

from store.errors import EncoderError


def open_session(path: Path) -> Any:
    """Load a model into an onnxruntime session.

    It runs on the GPU if the package `onnxruntime-gpu` is installed, else on the CPU.

    Raises:
        EncoderError: the file is missing, or is no ONNX model.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    available = onnxruntime.get_available_providers()
    providers = [p for p in ("CUDAExecutionProvider", "CPUExecutionProvider") if p in available]
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # onnxruntime's errors have no common base class
        raise EncoderError(f"{path}: onnxruntime cannot load it: {error}") from error


def package_file(package: str, file: str) -> Path:
    """The path of a file in an installed package. The package is not imported.

    Args:
        file: relative to the folder of the package.

    Raises:
        EncoderError: the package is not installed.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise EncoderError(
            f"the package {package!r} is not installed; pip install isotrope[pipelines]"
        )
    return Path(spec.submodule_search_locations[0], file)
