"""Small models of other libraries with random weights, and random images and tones as input."""

import io
import json
from pathlib import Path

import numpy as np
import soundfile
import torch
from PIL import Image

RATE = 48_000
TINY = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16},
    "text_cfg": {
        "context_length": 77, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 1,
    },
}  # fmt: skip


def picture(seed: int, size: tuple[int, int] = (90, 60)) -> bytes:
    """A PNG of random pixels."""
    pixels = np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def tone(hertz: float, seconds: float, rate: int = RATE) -> bytes:
    """A WAV file of a sine."""
    out = io.BytesIO()
    wave = 0.5 * np.sin(2 * np.pi * hertz * np.arange(int(rate * seconds)) / rate)
    soundfile.write(out, wave.astype(np.float32), rate, format="WAV", subtype="FLOAT")
    return out.getvalue()


def save_clip(folder: Path) -> Path:
    """Save a small CLIP with random weights in a folder, as open_clip writes it."""
    import open_clip

    preprocess = {"mean": [0.5] * 3, "std": [0.25] * 3, "interpolation": "bilinear"}
    config = {"model_cfg": TINY, "preprocess_cfg": preprocess}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    torch.manual_seed(0)
    model = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    torch.save(model.state_dict(), folder / "open_clip_pytorch_model.bin")
    return folder


def save_clap(folder: Path) -> Path:
    """Save a small CLAP with random weights in a folder, as transformers writes it."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import ClapConfig, ClapFeatureExtractor, ClapModel, RobertaTokenizerFast

    letters = {chr(97 + n): n + 4 for n in range(26)}
    vocabulary = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, **letters}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    RobertaTokenizerFast(tokenizer_object=tokenizer).save_pretrained(folder)
    ClapFeatureExtractor(truncation="rand_trunc").save_pretrained(folder)
    config = ClapConfig(
        text_config={
            "vocab_size": 30, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
            "intermediate_size": 64, "max_position_embeddings": 42, "projection_dim": 24,
        },
        audio_config={
            "patch_embeds_hidden_size": 16, "depths": [1, 1], "num_attention_heads": [2, 2],
            "hidden_size": 32, "projection_dim": 24,
        },
        projection_dim=24,
    )  # fmt: skip
    torch.manual_seed(0)
    ClapModel(config).eval().save_pretrained(folder)
    return folder
