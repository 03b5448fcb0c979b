"""A small ONNX model with the signature of NudeNet's detectors."""

from pathlib import Path

import numpy as np

ROWS = 22  # 4 of a box, and 18 classes
PATCH = 32  # pixels: the model looks at 10 x 10 patches of the square of 320


def weights(seed: int = 0) -> np.ndarray:
    """Float32 (22, 3, 32, 32): one filter for each row of the output."""
    scale = 1 / (3 * PATCH**2)
    return np.random.default_rng(seed).normal(0, scale, (ROWS, 3, PATCH, PATCH)).astype(np.float32)


def save_detector(path: Path, filters: np.ndarray, side: int = 320) -> None:
    """Write a model that maps `images` (1, 3, side, side) to (1, rows, boxes): each filter's
    answer at each patch."""
    from onnx import TensorProto, helper, numpy_helper

    rows = len(filters)
    nodes = [
        helper.make_node("Conv", ["images", "filters"], ["grid"], strides=[PATCH, PATCH]),
        helper.make_node("Reshape", ["grid", "shape"], ["output0"]),
    ]
    constants = [
        numpy_helper.from_array(filters, "filters"),
        numpy_helper.from_array(np.array([1, rows, -1]), "shape"),
    ]
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, side, side])
    output = helper.make_tensor_value_info(
        "output0", TensorProto.FLOAT, [1, rows, (side // PATCH) ** 2]
    )
    graph = helper.make_graph(nodes, "detector", [images], [output], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path.write_bytes(model.SerializeToString())


def answers(filters: np.ndarray, square: np.ndarray) -> np.ndarray:
    """What the model returns for a (1, 3, 320, 320) array, in NumPy: (rows, 100)."""
    patches = square[0].reshape(3, 10, PATCH, 10, PATCH)
    return np.einsum("rcyx,ciyjx->rij", filters, patches).reshape(len(filters), 100)
