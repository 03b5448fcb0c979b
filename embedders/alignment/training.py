"""The training loop of alignment, in torch."""

import math
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from embedders.alignment.closed_form import canonical, ridge_path
from embedders.alignment.losses import Contrast, structure
from embedders.projection import Projection

if TYPE_CHECKING:
    from embedders.alignment.settings import Settings


class Head(nn.Module):
    """A projection that is being learned, behind the standardisation of its inputs."""

    def __init__(self, rows: torch.Tensor, dim: int, settings: "Settings"):
        super().__init__()
        self.settings = settings
        self.mean = rows.mean(0)
        deviation = rows.std(0) if len(rows) > 1 else torch.ones(rows.shape[1])
        # A feature that hardly varies must not be blown up.
        self.scale = 1 / (deviation + 1e-3 * deviation.max() + 1e-12)
        self.linear = nn.Linear(rows.shape[1], dim)
        self.hidden = nn.Linear(rows.shape[1], settings.width) if settings.kind == "mlp" else None
        self.out = nn.Linear(settings.width, dim, bias=False) if settings.kind == "mlp" else None
        if self.out is not None:
            nn.init.zeros_(self.out.weight)  # it begins as the linear map

    def standardised(self, rows: torch.Tensor) -> torch.Tensor:
        return (rows - self.mean) * self.scale

    def set(self, weights: torch.Tensor, offset: torch.Tensor) -> None:
        """Take a linear map of standardised rows; dimensions that it does not fill become zero."""
        self.linear.weight.zero_()[: len(weights)] = weights
        self.linear.bias.zero_()[: len(offset)] = offset

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        x = self.standardised(rows)
        if self.training:
            if self.settings.noise:
                x = x + self.settings.noise * torch.randn_like(x)
            x = functional.dropout(x, self.settings.dropout)
        out = self.linear(x)
        if self.hidden is not None and self.out is not None:
            out = out + self.out(functional.gelu(self.hidden(x), approximate="tanh"))
        return functional.normalize(out, dim=1)

    def projection(self) -> Projection:
        """The same map with the standardisation worked into its weights."""
        layers = {"": self.linear} | ({} if self.hidden is None else {"hidden_": self.hidden})
        tensors = {}
        for name, layer in layers.items():
            weight = layer.weight * self.scale
            tensors[f"{name}weight"] = weight.T
            tensors[f"{name}bias"] = layer.bias - weight @ self.mean
        if self.out is not None:
            tensors["out_weight"] = self.out.weight.T
        return Projection({n: t.detach().cpu().numpy().copy() for n, t in tensors.items()})


@torch.random.fork_rng()
def train(
    x: np.ndarray,
    anchors: list[np.ndarray],
    groups: np.ndarray,
    validation: np.ndarray,
    two_sided: bool,
    settings: "Settings",
) -> tuple[list[Projection], list[dict[str, float]], int]:
    """The heads of the best epoch (x's, and y's where two-sided), a row an epoch, and which it was.

    See `embedders.alignment.align.align` for the arguments.
    """
    torch.manual_seed(settings.seed)
    rows, labels = torch.from_numpy(x), torch.from_numpy(groups)
    sides = [torch.from_numpy(anchor) for anchor in anchors]
    training, held = (torch.from_numpy(np.flatnonzero(part)) for part in (~validation, validation))
    dim = settings.dim if two_sided else sides[0].shape[1]
    heads = [Head(rows[training], dim, settings)]
    if two_sided:
        heads.append(Head(sides[0][training], dim, settings))
    validate = partial(_validated, heads, rows, sides, labels, held, two_sided)
    best = _begin(heads, rows[training], [side[training] for side in sides], validate), 0
    kept = [head.projection() for head in heads]
    modules = nn.ModuleList(heads)
    contrast = Contrast(settings.loss)
    optimiser = torch.optim.AdamW(
        [
            {"params": modules.parameters(), "weight_decay": settings.weight_decay},
            {"params": contrast.parameters(), "weight_decay": 0.0},
        ],
        lr=settings.learning_rate,
    )
    steps = math.ceil(len(training) / settings.batch)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, settings.epochs * steps)

    def loss(some: torch.Tensor) -> torch.Tensor:
        total = rows.new_zeros(())
        projected = heads[0](rows[some])
        for side in sides:
            there = torch.isfinite(side[some]).all(1)
            if there.sum() < 2:
                continue
            right = side[some][there]
            right = heads[1](right) if two_sided else functional.normalize(right, dim=1)
            total = total + contrast(projected[there], right, labels[some][there]) / len(sides)
            if settings.structure and two_sided:
                total = total + settings.structure * _bent(side[some][there], right, settings)
        if settings.structure:
            total = total + settings.structure * _bent(rows[some], projected, settings)
        return total

    history: list[dict[str, float]] = []
    for epoch in range(1, settings.epochs + 1):
        modules.train()
        order = training[torch.randperm(len(training))]
        spent = 0.0
        for some in order.split(settings.batch):
            value = loss(some)
            if not value.requires_grad:  # not one pair of the batch has an anchor
                continue
            optimiser.zero_grad()
            value.backward()
            optimiser.step()
            schedule.step()
            spent += float(value.detach()) * len(some) / len(training)
        modules.eval()
        reciprocal = validate()
        history.append({"epoch": epoch, "loss": spent, "validation_mrr": reciprocal})
        if reciprocal > best[0]:
            best, kept = (reciprocal, epoch), [head.projection() for head in heads]
        if epoch - best[1] >= settings.patience:
            break
    return kept, history, best[1]


@torch.no_grad()
def _begin(
    heads: list[Head], x: torch.Tensor, sides: list[torch.Tensor], validate: Callable[[], float]
) -> float:
    """Set the heads' linear maps to the best that can be solved for; returns its validation."""
    if len(heads) == 2:
        left, right = heads[0].standardised(x), heads[1].standardised(sides[0])
        pairs = canonical(left, right, heads[0].linear.out_features)
        starts = [[(weights, torch.zeros(len(weights))) for weights in pair] for pair in pairs]
    else:
        units = torch.stack([functional.normalize(side, dim=1) for side in sides])
        anchor = functional.normalize(units.nanmean(0), dim=1)
        there = torch.isfinite(anchor).all(1)
        starts = [[one] for one in ridge_path(heads[0].standardised(x[there]), anchor[there])]
    scored = []
    for start in starts:
        for head, (weights, offset) in zip(heads, start, strict=True):
            head.set(weights, offset)
        scored.append(validate())
    best = max(range(len(starts)), key=scored.__getitem__)
    for head, (weights, offset) in zip(heads, starts[best], strict=True):
        head.set(weights, offset)
    return scored[best]


def _bent(before: torch.Tensor, after: torch.Tensor, settings: "Settings") -> torch.Tensor:
    return structure(before, after, settings.levels, settings.structure_temperature)


@torch.no_grad()
def _validated(
    heads: list[Head],
    rows: torch.Tensor,
    sides: list[torch.Tensor],
    labels: torch.Tensor,
    held: torch.Tensor,
    two_sided: bool,
) -> float:
    """Mean reciprocal rank over both directions and all anchors, any row of a group being right."""
    projected = heads[0](rows[held])
    found = []
    for side in sides:
        there = torch.isfinite(side[held]).all(1)
        if not there.any():
            continue
        right = side[held][there]
        right = heads[1](right) if two_sided else functional.normalize(right, dim=1)
        scores = projected[there] @ right.T
        same = labels[held][there]
        right_answers = same[:, None] == same
        for way in (scores, scores.T):
            best = way.masked_fill(~right_answers, -torch.inf).amax(1, keepdim=True)
            found.append(1 / (1 + (way > best).sum(1).float()))
    return float(torch.cat(found).mean())
