"""Layers of open_clip's transformers: the mean over patches, or over the tokens of a text.

The vectors come with them, by the same run of the model.
"""

from collections.abc import Mapping
from typing import Any

from store.errors import EncoderError


def layer_dims(config: Mapping[str, Any], modality: str) -> tuple[int, ...]:
    """The width of each block of a tower.

    Args:
        config: `model_cfg` of the model.
        modality: image or text.

    Raises:
        EncoderError: the tower is not a transformer of open_clip's own.
    """
    tower = config["vision_cfg" if modality == "image" else "text_cfg"]
    layers, width = tower.get("layers"), tower.get("width")
    foreign = tower.get("timm_model_name") or tower.get("hf_model_name")
    if foreign or not isinstance(layers, int) or not isinstance(width, int):
        raise EncoderError(
            f"the {modality} tower {foreign or 'with convolutions'} offers no layers: only"
            " transformers of open_clip's own do"
        )
    return (width,) * layers


def of_images(model: Any, pixels: Any) -> list[Any]:
    """The mean over patches after each block, a tensor (n, width) each; last the vectors (n, d).

    Args:
        model: of open_clip.
        pixels: a normalised batch.
    """
    output = model.forward_intermediates(image=pixels, image_output_fmt="NLC")
    means = [block.mean(dim=1) for block in output["image_intermediates"]]
    return [*means, output["image_features"]]


def of_texts(model: Any, ids: Any) -> list[Any]:
    """The mean over tokens, without start and padding, after each block: a tensor (n, width) each;
    last the vectors (n, d).

    Args:
        model: of open_clip.
        ids: (n, context) of tokens.
    """
    import torch

    output = model.forward_intermediates(text=ids)
    places = torch.arange(ids.shape[1], device=ids.device)
    # The end has the largest id in CLIP's vocabulary.
    own = (places > 0) & (places <= ids.argmax(dim=-1, keepdim=True))
    share = own / own.sum(dim=1, keepdim=True)
    means = [(block * share[..., None]).sum(dim=1) for block in output["text_intermediates"]]
    return [*means, output["text_features"]]
