"""all-MiniLM-L6-v2 (Wang et al. 2020; Reimers and Gurevych 2019) on torch's own encoder layers.

The library that usually runs it takes four times as long to import as torch, and every search from
the command line and every worker would wait for that. The tests compare the two.
"""

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import nn

DIM, HEADS, LAYERS, WIDTH, EPSILON = 384, 12, 6, 1536, 1e-12


class MiniLM:
    """The mean of the last layer over a text's tokens.

    Args:
        folder: of the package's model: model.safetensors and tokenizer.json.
        tokens: what a text holds beyond that many is not read.
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
        self.encoder.load_state_dict(_renamed(self.weights))

    @torch.inference_mode()
    def encode(self, texts: list[str]) -> np.ndarray:
        """float32 (n, 384), not scaled."""
        encoded = self.tokenizer.encode_batch(texts)
        ids = torch.tensor([e.ids for e in encoded])
        there = torch.tensor([e.attention_mask for e in encoded])
        hidden = self.encoder(self._embed(ids), src_key_padding_mask=there == 0)
        return ((hidden * there[..., None]).sum(1) / there.sum(1, keepdim=True)).numpy()

    def _embed(self, ids: torch.Tensor) -> torch.Tensor:
        at = "embeddings."
        words = self.weights[f"{at}word_embeddings.weight"][ids]
        places = self.weights[f"{at}position_embeddings.weight"][: ids.shape[1]]
        sentence = self.weights[f"{at}token_type_embeddings.weight"][0]
        weight, bias = (self.weights[f"{at}LayerNorm.{name}"] for name in ("weight", "bias"))
        return nn.functional.layer_norm(words + places + sentence, (DIM,), weight, bias, EPSILON)


_NAMES = {
    "self_attn.out_proj": "attention.output.dense",
    "norm1": "attention.output.LayerNorm",
    "linear1": "intermediate.dense",
    "linear2": "output.dense",
    "norm2": "output.LayerNorm",
}


def _renamed(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """BERT's names of the layers' weights into torch's."""
    state = {}
    for layer in range(LAYERS):
        here, there = f"layers.{layer}.", f"encoder.layer.{layer}."
        for kind in ("weight", "bias"):
            parts = [
                weights[f"{there}attention.self.{n}.{kind}"] for n in ("query", "key", "value")
            ]
            state[f"{here}self_attn.in_proj_{kind}"] = torch.cat(parts)
            for ours, theirs in _NAMES.items():
                state[f"{here}{ours}.{kind}"] = weights[f"{there}{theirs}.{kind}"]
    return state
