"""Find the configuration and the weights of an open_clip model."""

import json
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from embedders.encoders import weights
from store.errors import EncoderError, first_line

_SCHEMAS = ("hf-hub:", "local-dir:")
_CONFIG_FILE = "open_clip_config.json"


class Source(NamedTuple):
    """A model and its weights, as open_clip names them.

    Attributes:
        model: one of the library's names, or `hf-hub:` or `local-dir:` with a model or a folder.
        pretrained: a tag of the library or a file of weights; None if the model's name implies
            its weights.
    """

    model: str
    pretrained: str | None

    @property
    def label(self) -> str:
        """The name of the encoder, for error messages."""
        return "open_clip:" + "/".join(part for part in self if part)


def parse_source(name: str) -> Source:
    """Parse the name of an encoder, without its scheme.

    Raises:
        EncoderError: the name has no weights.
    """
    if name.startswith(_SCHEMAS):
        return Source(name, None)
    model, _, pretrained = name.partition("/")
    if not pretrained:
        raise EncoderError(
            f"open_clip:{name} names no weights: open_clip:{model}/TAG or"
            f" open_clip:{model}//path/to/weights is expected{_tags_hint(model)}"
        )
    is_path = "/" in pretrained or pretrained.startswith("~")
    return Source(model, str(Path(pretrained).expanduser()) if is_path else pretrained)


@cache
def model_config(source: Source) -> dict[str, Any]:
    """The configuration of a model, read without its weights.

    Returns:
        `model_cfg`, and `preprocess_cfg` with open_clip's defaults filled in.

    Raises:
        EncoderError: the model is unknown, or its folder has no configuration.
    """
    import open_clip
    from open_clip.transform import PreprocessCfg, merge_preprocess_dict

    folder = _model_folder(source)
    if folder is not None:
        file = folder / _CONFIG_FILE
        if not file.is_file():
            raise EncoderError(f"open_clip:{source.model}: there is no {_CONFIG_FILE} in {folder}")
        config = json.loads(file.read_text())
        model, preprocess = config["model_cfg"], config.get("preprocess_cfg", {})
    else:
        model = open_clip.get_model_config(source.model)
        if model is None:
            similar = ", ".join(m for m in open_clip.list_models() if source.model[:5] in m)
            raise EncoderError(
                f"open_clip has no model {source.model!r}; similar names: {similar or 'none'}"
            )
        preprocess = open_clip.get_pretrained_cfg(source.model, source.pretrained) or {}
    merged = merge_preprocess_dict(asdict(PreprocessCfg()), preprocess)
    merged["size"] = model["vision_cfg"].get("image_size", merged["size"])
    return {"model_cfg": model, "preprocess_cfg": merged}


def weights_file(source: Source) -> Path:
    """The file of a model's weights. Those of a tag are downloaded once.

    Raises:
        EncoderError: there is no such file or tag, or it cannot be downloaded.
    """
    import open_clip

    folder = _model_folder(source)
    if folder is not None:
        files = [f for f in weights.model_files(folder) if f.suffix not in (".json", ".txt")]
        if not files:
            raise EncoderError(f"open_clip:{source.model}: there are no weights in {folder}")
        return files[0]
    pretrained = source.pretrained or ""
    if "/" in pretrained:
        if not Path(pretrained).is_file():
            raise EncoderError(f"{source.label}: there is no file {pretrained}")
        return Path(pretrained)
    config = open_clip.get_pretrained_cfg(source.model, pretrained)
    if not config:
        raise EncoderError(
            f"open_clip:{source.model} has no weights {pretrained!r}{_tags_hint(source.model)}"
        )
    from huggingface_hub.utils import logging as hub_logging

    hub_logging.set_verbosity_error()  # else it prints each retry without a network
    try:
        with weights.downloads():
            return Path(open_clip.download_pretrained(config))
    except Exception as error:
        raise EncoderError(
            f"{source.label} cannot be downloaded: {first_line(error)[:200]}; without a"
            f" network, give a file: open_clip:{source.model}//path/to/weights"
        ) from error


def _model_folder(source: Source) -> Path | None:
    for schema in _SCHEMAS:
        if source.model.startswith(schema):
            return weights.hub_folder(source.model.removeprefix(schema))
    return None


def _tags_hint(model: str) -> str:
    import open_clip

    tags = open_clip.list_pretrained_tags_by_model(model)
    return f"; its tags: {', '.join(tags)}" if tags else ""
