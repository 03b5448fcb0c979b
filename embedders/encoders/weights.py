"""Weights by path or from the hub, and what names their content."""

from functools import cache
from pathlib import Path

from store.errors import EncoderError

_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".npz", ".onnx")


def hub_folder(name: str) -> Path:
    """The folder of a model: `name` itself where it is one, else the hub's, downloaded once.

    Weights are taken as safetensors where the model has them, never twice.

    Raises EncoderError where there is neither.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        return path.resolve()
    if name.startswith(("/", "~", ".")):
        raise EncoderError(f"there is no folder {path}")
    return _from_hub(name)


@cache
def _from_hub(name: str) -> Path:
    from huggingface_hub import HfApi, snapshot_download

    try:  # what has been downloaded needs no network
        return Path(snapshot_download(name, local_files_only=True))
    except Exception:  # every kind of miss has its own error
        pass
    try:
        files = HfApi().list_repo_files(name)
        safe = any(file.endswith(".safetensors") for file in files)
        other = ["*.h5", "*.msgpack", "*.onnx", "onnx/*", "openvino/*", "*.ot"]
        skipped = [*other, "*.bin", "*.pt", "*.pth"] if safe else other
        return Path(snapshot_download(name, ignore_patterns=skipped))
    except Exception as error:
        raise EncoderError(
            f"{name!r} is no folder here and cannot be had from the model hub: {_short(error)}"
        ) from error


def model_files(folder: Path) -> list[Path]:
    """Weights and settings of a model's folder, in order of their names."""
    wanted = (*_WEIGHTS, ".json", ".txt", ".model")
    return sorted(file for file in folder.rglob("*") if file.suffix in wanted and file.is_file())


def _short(error: Exception) -> str:
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__
