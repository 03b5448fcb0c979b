"""Token vectors of open_clip's models: outputs of the last layer, projected as the pooled one is.

Only of transformers whose vector is one of these outputs, or their mean, after the same layer norm
and projection: others map tokens to vectors in ways that are not defined for a single token.
"""

from typing import Any

from store.errors import EncoderError


def of_patches(model: Any, pixels: Any) -> Any:
    """The vectors of the patches of images, without the class token.

    Args:
        model: of open_clip.
        pixels: a normalised batch.

    Returns:
        A tensor (n, patches, d).

    Raises:
        EncoderError: the image tower has none.
    """
    from open_clip.transformer import VisionTransformer

    tower = model.visual
    is_plain = isinstance(tower, VisionTransformer) and tower.attn_pool is None
    if not is_plain or tower.final_ln_after_pool:
        raise EncoderError(f"{type(tower).__name__} with its pooling has no token vectors")
    output = model.forward_intermediates(
        image=pixels,
        image_indices=1,
        normalize_intermediates=True,
        intermediates_only=True,
        image_output_fmt="NLC",
    )
    return _projected(output["image_intermediates"][-1], tower.proj)


def of_text(model: Any, ids: Any) -> list[Any]:
    """The vectors of the tokens of texts, without start, end and padding.

    Args:
        model: of open_clip.
        ids: (n, context) of tokens.

    Returns:
        For each text, a tensor (t, d).

    Raises:
        EncoderError: the text tower has none.
    """
    from open_clip.transformer import TextTransformer

    tower = getattr(model, "text", model)
    is_plain = tower is model or isinstance(tower, TextTransformer)
    pooled_at = getattr(tower, "pool_type", getattr(model, "text_pool_type", None))
    if not is_plain or pooled_at != "argmax" or getattr(tower, "cls_emb", None) is not None:
        raise EncoderError(f"{type(tower).__name__} with its pooling has no token vectors")
    output = model.forward_intermediates(
        text=ids, text_indices=1, normalize_intermediates=True, intermediates_only=True
    )
    rows = _projected(output["text_intermediates"][-1], tower.text_projection)
    ends = ids.argmax(dim=-1).tolist()  # the end has the largest id
    return [row[1:end] for row, end in zip(rows, ends, strict=True)]


def _projected(rows: Any, projection: Any) -> Any:
    if projection is None:
        return rows
    return projection(rows) if callable(projection) else rows @ projection
