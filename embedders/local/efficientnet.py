"""EfficientNet-Lite (Tan and Le 2019) as it is run here: class scores, and features of four depths.

Batch normalisation is folded into the convolutions and pixels lie channels last: on a CPU that
halves the time and moves the outputs by some 1e-5.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import timm
import torch
from torch import nn

from embedders.encoders.device import device

SIDES = {0: 224, 2: 260}
_POOLED = (2, 4, 6)  # blocks whose means over the picture go before the last layer's
_MEAN = (0.485, 0.456, 0.406)
_DEVIATION = (0.229, 0.224, 0.225)


class ImageFeatures(NamedTuple):
    """Features, float32 (n, sum of the depths' channels), and logits of 1,000 classes (n, 1000)."""

    features: np.ndarray
    logits: np.ndarray


class EfficientNetLite:
    """Lite0 or Lite2, on the GPU where there is one.

    Args:
        size: 0 (pictures of 224 pixels) or 2 (260).
        weights: the package's file.
    """

    def __init__(self, size: int, weights: Path):
        model = timm.create_model(f"tf_efficientnet_lite{size}", pretrained=False)
        saved = torch.load(weights, map_location="cpu", weights_only=True)
        # The package's names differ, its tensors come in the same order.
        model.load_state_dict(dict(zip(model.state_dict(), saved.values(), strict=True)))
        self.device = device()
        folded = _folded(model.eval()).to(memory_format=torch.channels_last)
        self.model: Any = folded.to(self.device)
        self.mean, self.deviation = (
            torch.tensor(values, device=self.device)[:, None, None]
            for values in (_MEAN, _DEVIATION)
        )

    @torch.inference_mode()
    def __call__(self, pixels: np.ndarray) -> ImageFeatures:
        """Look at pictures, uint8 (n, side, side, 3)."""
        # The permutation of a batch that lies channels last is channels last already.
        batch = torch.from_numpy(pixels).permute(0, 3, 1, 2).to(self.device)
        x = self.model.bn1(self.model.conv_stem((batch / 255 - self.mean) / self.deviation))
        depths = []
        for number, block in enumerate(self.model.blocks):
            x = block(x)
            if number in _POOLED:
                depths.append(x.mean((2, 3)))
        last = self.model.bn2(self.model.conv_head(x)).mean((2, 3))
        logits = self.model.classifier(last)
        features = torch.cat([*depths, last], dim=1)
        return ImageFeatures(features.float().cpu().numpy(), logits.float().cpu().numpy())


@torch.no_grad()
def _folded(model: nn.Module) -> nn.Module:
    """Batch normalisation worked into the convolution before it; its activation stays."""
    convolution = None
    for name, module in list(model.named_modules()):
        if isinstance(module, nn.Conv2d):
            convolution = module
        elif isinstance(module, nn.BatchNorm2d) and convolution is not None:
            mean, variance = module.running_mean, module.running_var
            assert mean is not None
            assert variance is not None
            scale = module.weight / torch.sqrt(variance + module.eps)
            convolution.weight.mul_(scale[:, None, None, None])
            convolution.bias = nn.Parameter(module.bias - mean * scale)
            owner, _, attribute = name.rpartition(".")
            setattr(model.get_submodule(owner), attribute, getattr(module, "act", nn.Identity()))
            convolution = None
    return model
