"""Find the files of a model: in a folder, or downloaded from the Hugging Face hub.

Weights are data. A pickle can also run code when it is loaded, and is refused if it does more than
hold tensors.
"""

import socket
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies

from store.errors import EncoderError, first_line

_MODEL_SUFFIXES = (
    ".safetensors", ".bin", ".pt", ".pth", ".npz", ".onnx", ".json", ".txt", ".model",
)  # fmt: skip
_NEVER_CODE = (".safetensors", ".npz", ".onnx", ".json", ".txt", ".model")
_OTHER_FRAMEWORKS = ("*.h5", "*.msgpack", "*.onnx", "onnx/*", "openvino/*", "*.ot")
_PICKLED_WEIGHTS = ("*.bin", "*.pt", "*.pth")
_CONNECT_SECONDS = 10


def hub_folder(name: str) -> Path:
    """The folder that holds a model's files.

    A model of the hub is downloaded once. If it has its weights as safetensors, only these are
    downloaded.

    Args:
        name: a folder's path, or a model's name on the hub.

    Raises:
        EncoderError: the folder does not exist, or the hub does not deliver the model.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        return path.resolve()
    if name.startswith(("/", "~", ".")):
        raise EncoderError(f"there is no folder {path}")
    return _download(name)


def model_files(folder: Path) -> list[Path]:
    """Weights and settings in a model's folder and its subfolders, sorted by path."""
    return sorted(f for f in folder.rglob("*") if f.suffix in _MODEL_SUFFIXES and f.is_file())


def check_tensors_only(*files: Path) -> None:
    """Check that files of weights hold tensors and no code. Reads no tensor.

    Args:
        files: of any format; only pickles are checked. The others cannot hold code.

    Raises:
        EncoderError: a pickle names a class or function that is not part of a tensor.
    """
    for file in files:
        if file.suffix.lower() in _NEVER_CODE:
            continue
        import torch

        is_zip = zipfile.is_zipfile(file)  # the old format cannot be mapped
        try:
            torch.load(file, map_location="meta", mmap=is_zip, weights_only=True)
        except Exception as error:  # torch raises many types
            raise EncoderError(
                f"{file} is refused: it is not a file of tensors only, and loading it could run"
                f" code ({first_line(error)[:200]}); convert it to safetensors"
            ) from error


@contextmanager
def downloads() -> Iterator[None]:
    """Download from the model hub in this block.

    If the hub cannot be reached, files that were downloaded before are used and others fail at
    once. The hub's client alone would repeat its requests for most of a minute.

    Raises:
        EncoderError: a file is needed, and the hub cannot be reached.
    """
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    problem = None if before or getproxies() else _connection_problem(constants.ENDPOINT)
    constants.HF_HUB_OFFLINE = before or problem is not None
    try:
        yield
    except Exception as error:
        if problem is None:
            raise
        raise EncoderError(
            f"{constants.ENDPOINT} cannot be reached ({problem}), and the file was not downloaded"
            " before"
        ) from error
    finally:
        constants.HF_HUB_OFFLINE = before


def _connection_problem(url: str) -> str | None:
    """Why a server does not accept a connection; None if it does."""
    address = urlsplit(url)
    port = address.port or (443 if address.scheme == "https" else 80)
    try:
        socket.create_connection((address.hostname or "", port), _CONNECT_SECONDS).close()
    except OSError as error:
        return first_line(error)
    return None


@cache
def _download(name: str) -> Path:
    from huggingface_hub import HfApi, snapshot_download

    try:  # a model that was downloaded before needs no network
        return Path(snapshot_download(name, local_files_only=True))
    except Exception:  # huggingface_hub raises many types of error for a model not in its cache
        pass
    try:
        with downloads():
            files = HfApi().list_repo_files(name)
            has_safetensors = any(file.endswith(".safetensors") for file in files)
            ignored = [*_OTHER_FRAMEWORKS, *(_PICKLED_WEIGHTS if has_safetensors else ())]
            return Path(snapshot_download(name, ignore_patterns=ignored))
    except Exception as error:
        raise EncoderError(
            f"{name!r} is not a folder and cannot be downloaded from the model hub:"
            f" {first_line(error)[:200]}"
        ) from error
