"""The training loop of alignment, in torch."""

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from embedders.alignment.closed_form import cca_solutions, ridge_solutions
from embedders.alignment.losses import ContrastiveLoss, structure_loss
from embedders.alignment.settings import Settings
from embedders.projection import Projection


class Head(nn.Module):
    """A projection in training. It standardises its inputs first.

    Args:
        rows: (n, d_in) training inputs, whose mean and deviation standardise all later ones.
        dim: d_out.
        settings: of the alignment.
    """

    def __init__(self, rows: torch.Tensor, dim: int, settings: Settings):
        super().__init__()
        self.settings = settings
        self.mean = rows.mean(0)
        deviation = rows.std(0) if len(rows) > 1 else torch.ones(rows.shape[1])
        # The floor keeps a feature that hardly varies from being scaled up to noise.
        self.scale = 1 / (deviation + 1e-3 * deviation.max() + 1e-12)
        self.linear = nn.Linear(rows.shape[1], dim)
        self.hidden = nn.Linear(rows.shape[1], settings.width) if settings.kind == "mlp" else None
        self.out = nn.Linear(settings.width, dim, bias=False) if settings.kind == "mlp" else None
        if self.out is not None:
            nn.init.zeros_(self.out.weight)  # training starts from the linear map alone

    def standardise(self, rows: torch.Tensor) -> torch.Tensor:
        return (rows - self.mean) * self.scale

    def set_linear(self, weights: torch.Tensor, offset: torch.Tensor) -> None:
        """Set the linear map of standardised rows; output dimensions beyond it become zero."""
        self.linear.weight.zero_()[: len(weights)] = weights
        self.linear.bias.zero_()[: len(offset)] = offset

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        x = self.standardise(rows)
        if self.training:
            if self.settings.noise:
                x = x + self.settings.noise * torch.randn_like(x)
            x = functional.dropout(x, self.settings.dropout)
        out = self.linear(x)
        if self.hidden is not None and self.out is not None:
            out = out + self.out(functional.gelu(self.hidden(x), approximate="tanh"))
        return functional.normalize(out, dim=1)

    def projection(self) -> Projection:
        """The same map as a `Projection`, with the standardisation folded into its weights."""
        layers = {"": self.linear} | ({} if self.hidden is None else {"hidden_": self.hidden})
        tensors = {}
        for prefix, layer in layers.items():
            weight = layer.weight * self.scale
            tensors[f"{prefix}weight"] = weight.T
            tensors[f"{prefix}bias"] = layer.bias - weight @ self.mean
        if self.out is not None:
            tensors["out_weight"] = self.out.weight.T
        return Projection({n: t.detach().cpu().numpy().copy() for n, t in tensors.items()})


@torch.random.fork_rng()
def train(
    x: np.ndarray,
    anchors: list[np.ndarray],
    groups: np.ndarray,
    weights: np.ndarray,
    held_out: np.ndarray,
    two_sided: bool,
    settings: Settings,
) -> tuple[list[Projection], list[dict[str, float]], int]:
    """Train the heads and keep those of the epoch with the best validation.

    Args:
        x: (n, d_x) float32.
        anchors: (n, d_y) float32 each; a row of NaN is missing.
        groups: (n,) labels; see `embedders.alignment.align.align`.
        weights: (n,) float32, likewise.
        held_out: (n,) bool, the validation pairs.
        two_sided: train a head for the anchor too.
        settings: of the alignment.

    Returns:
        The head of x (and, two-sided, that of y); for each epoch its number, loss and validation
        MRR; and the number of the best epoch, 0 for the closed-form start.
    """
    torch.manual_seed(settings.seed)
    rows, labels, trust = map(torch.from_numpy, (x, groups, weights))
    sides = [torch.from_numpy(anchor) for anchor in anchors]
    training, validation = (
        torch.from_numpy(np.flatnonzero(part)) for part in (~held_out, held_out)
    )
    dim = settings.dim if two_sided else sides[0].shape[1]
    heads = [Head(rows[training], dim, settings)]
    if two_sided:
        heads.append(Head(sides[0][training], dim, settings))
    validate = partial(_validation_mrr, heads, rows, sides, labels, trust, validation, two_sided)
    best_mrr = _start_closed_form(
        heads, rows[training], [side[training] for side in sides], trust[training], validate
    )
    best_epoch, best_heads = 0, [head.projection() for head in heads]
    modules = nn.ModuleList(heads)
    contrastive = ContrastiveLoss(settings.loss)
    optimiser = torch.optim.AdamW(
        [
            {"params": modules.parameters(), "weight_decay": settings.weight_decay},
            {"params": contrastive.parameters(), "weight_decay": 0.0},
        ],
        lr=settings.learning_rate,
    )
    steps = math.ceil(len(training) / settings.batch)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, settings.epochs * steps)

    def batch_loss(batch: torch.Tensor) -> torch.Tensor:
        total = rows.new_zeros(())
        projected = heads[0](rows[batch])
        for side in sides:
            present = torch.isfinite(side[batch]).all(1)
            if present.sum() < 2:
                continue
            before = side[batch][present]
            after = heads[1](before) if two_sided else functional.normalize(before, dim=1)
            contrast = contrastive(
                projected[present], after, labels[batch][present], trust[batch][present]
            )
            total = total + contrast / len(sides)
            if settings.structure and two_sided:
                total = total + settings.structure * _structure_loss(before, after, settings)
        if settings.structure:
            total = total + settings.structure * _structure_loss(rows[batch], projected, settings)
        return total

    history: list[dict[str, float]] = []
    for epoch in range(1, settings.epochs + 1):
        modules.train()
        order = training[torch.randperm(len(training))]
        mean_loss = 0.0
        for batch in order.split(settings.batch):
            loss = batch_loss(batch)
            if not loss.requires_grad:  # no pair of the batch has an anchor
                continue
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            mean_loss += float(loss.detach()) * len(batch) / len(training)
        modules.eval()
        mrr = validate()
        history.append({"epoch": epoch, "loss": mean_loss, "validation_mrr": mrr})
        if mrr > best_mrr:
            best_mrr, best_epoch = mrr, epoch
            best_heads = [head.projection() for head in heads]
        if epoch - best_epoch >= settings.patience:
            break
    return best_heads, history, best_epoch


@torch.no_grad()
def _start_closed_form(
    heads: list[Head],
    x: torch.Tensor,
    sides: list[torch.Tensor],
    trust: torch.Tensor,
    validate: Callable[[], float],
) -> float:
    """Set the heads' linear maps to the best closed-form solution; return its validation MRR."""
    if len(heads) == 2:
        left, right = heads[0].standardise(x), heads[1].standardise(sides[0])
        pairs = cca_solutions(left, right, trust, heads[0].linear.out_features)
        starts = [[(weights, torch.zeros(len(weights))) for weights in pair] for pair in pairs]
    else:
        units = torch.stack([functional.normalize(side, dim=1) for side in sides])
        anchor = functional.normalize(units.nanmean(0), dim=1)
        present = torch.isfinite(anchor).all(1)
        solutions = ridge_solutions(
            heads[0].standardise(x[present]), anchor[present], trust[present]
        )
        starts = [[solution] for solution in solutions]

    def set_heads(start: list[tuple[torch.Tensor, torch.Tensor]]) -> None:
        for head, (weights, offset) in zip(heads, start, strict=True):
            head.set_linear(weights, offset)

    mrrs = []
    for start in starts:
        set_heads(start)
        mrrs.append(validate())
    best = max(range(len(starts)), key=mrrs.__getitem__)
    set_heads(starts[best])
    return mrrs[best]


def _structure_loss(before: torch.Tensor, after: torch.Tensor, settings: Settings) -> torch.Tensor:
    return structure_loss(before, after, settings.levels, settings.structure_temperature)


@torch.no_grad()
def _validation_mrr(
    heads: list[Head],
    rows: torch.Tensor,
    sides: list[torch.Tensor],
    labels: torch.Tensor,
    trust: torch.Tensor,
    validation: torch.Tensor,
    two_sided: bool,
) -> float:
    """Mean reciprocal rank over both directions and all anchors, weighted by `trust`.

    Every row of the query's group is a right answer; the best of them has the rank.
    """
    projected = heads[0](rows[validation])
    reciprocal_ranks, weights = [], []
    for side in sides:
        present = torch.isfinite(side[validation]).all(1)
        if not present.any():
            continue
        targets = side[validation][present]
        targets = heads[1](targets) if two_sided else functional.normalize(targets, dim=1)
        scores = projected[present] @ targets.T
        group = labels[validation][present]
        is_right = group[:, None] == group
        for directed in (scores, scores.T):
            best = directed.masked_fill(~is_right, -torch.inf).amax(1, keepdim=True)
            reciprocal_ranks.append(1 / (1 + (directed > best).sum(1).float()))
            weights.append(trust[validation][present])
    total = torch.cat(weights).sum().clamp_min(1e-6)
    return float((torch.cat(reciprocal_ranks) * torch.cat(weights)).sum() / total)
