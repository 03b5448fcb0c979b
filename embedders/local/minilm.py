"""all-MiniLM-L6-v2 (Wang et al. 2020; Reimers and Gurevych 2019) on torch's own encoder layers.

The usual library, sentence-transformers, takes four times as long to import as torch, and every
search from the command line and every worker would wait for that. A test compares the two.
"""

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import nn

DIM, HEADS, LAYERS, WIDTH, EPSILON = 384, 12, 6, 1536, 1e-12
# Names of a layer's weights: torch's, and BERT's.
_LAYER_NAMES = {
    "self_attn.out_proj": "attention.output.dense",
    "norm1": "attention.output.LayerNorm",
    "linear1": "intermediate.dense",
    "linear2": "output.dense",
    "norm2": "output.LayerNorm",
}


class MiniLM:
    """Encodes a text as the mean of the last layer over its tokens.

    Args:
        folder: of the model, with model.safetensors and tokenizer.json.
        tokens: the number of tokens after which a text is cut off.
    """

    def __init__(self, folder: Path, tokens: int):
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.enable_truncation(tokens)
        self.tokenizer.enable_padding()
        self.weights = load_file(folder / "model.safetensors")
        layer = nn.TransformerEncoderLayer(
            DIM, HEADS, WIDTH, dropout=0.0, activation="gelu", layer_norm_eps=EPSILON,
            batch_first=True,
        )  # fmt: skip
        self.encoder = nn.TransformerEncoder(layer, LAYERS, enable_nested_tensor=False).eval()
        self.encoder.load_state_dict(_torch_state(self.weights))

    @torch.inference_mode()
    def encode(self, texts: list[str]) -> np.ndarray:
        """Encode texts to float32 (n, 384), not scaled to unit length."""
        hidden, mask, _ = self._last_layer(texts)
        return ((hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)).numpy()

    @torch.inference_mode()
    def encode_tokens(self, texts: list[str]) -> list[np.ndarray]:
        """The last layer at the tokens of each text: float32 (t, 384), not of unit length.

        Padding and the tokens that the tokeniser adds to every text are left out.
        """
        hidden, mask, special = self._last_layer(texts)
        rows = zip(hidden.numpy(), ((mask == 1) & (special == 0)).numpy(), strict=True)
        return [each[is_own] for each, is_own in rows]

    @torch.inference_mode()
    def encode_layers(self, texts: list[str]) -> list[np.ndarray]:
        """The mean over the tokens after each layer: for each, float32 (n, 384)."""
        hidden, mask, _ = self._embedded(texts)
        share = mask[..., None] / mask.sum(1, keepdim=True)[..., None]
        means = []
        for layer in self.encoder.layers:
            hidden = layer(hidden, src_key_padding_mask=mask == 0)
            means.append((hidden * share).sum(1).numpy())
        return means

    def _last_layer(self, texts: list[str]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Hidden states (n, t, 384), which positions are no padding, and which are special."""
        embedded, mask, special = self._embedded(texts)
        return self.encoder(embedded, src_key_padding_mask=mask == 0), mask, special

    def _embedded(self, texts: list[str]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """As `_last_layer`, before the first layer."""
        encoded = self.tokenizer.encode_batch(texts)
        ids = torch.tensor([e.ids for e in encoded])
        mask = torch.tensor([e.attention_mask for e in encoded])
        special = torch.tensor([e.special_tokens_mask for e in encoded])
        return self._embed(ids), mask, special

    def _embed(self, ids: torch.Tensor) -> torch.Tensor:
        prefix = "embeddings."
        words = self.weights[f"{prefix}word_embeddings.weight"][ids]
        positions = self.weights[f"{prefix}position_embeddings.weight"][: ids.shape[1]]
        token_type = self.weights[f"{prefix}token_type_embeddings.weight"][0]
        weight, bias = (self.weights[f"{prefix}LayerNorm.{name}"] for name in ("weight", "bias"))
        embedded = words + positions + token_type
        return nn.functional.layer_norm(embedded, (DIM,), weight, bias, EPSILON)


def _torch_state(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Rename BERT's layer weights as torch's encoder names them."""
    state = {}
    for layer in range(LAYERS):
        ours, theirs = f"layers.{layer}.", f"encoder.layer.{layer}."
        for kind in ("weight", "bias"):
            attention = [
                weights[f"{theirs}attention.self.{name}.{kind}"]
                for name in ("query", "key", "value")
            ]
            state[f"{ours}self_attn.in_proj_{kind}"] = torch.cat(attention)
            for torch_name, bert_name in _LAYER_NAMES.items():
                state[f"{ours}{torch_name}.{kind}"] = weights[f"{theirs}{bert_name}.{kind}"]
    return state
