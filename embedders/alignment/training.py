"""The training loop of alignment, in torch."""

import math
from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from embedders.alignment.heads import make_heads, validation_mrr
from embedders.alignment.linear_start import closed_form_maps, set_best
from embedders.alignment.losses import ContrastiveLoss, structure_loss
from embedders.alignment.settings import Settings
from embedders.projection import Projection


@torch.random.fork_rng()
def train(
    x: np.ndarray,
    anchors: list[np.ndarray],
    groups: np.ndarray,
    weights: np.ndarray,
    held_out: np.ndarray,
    two_sided: bool,
    settings: Settings,
    start: Sequence[Projection] = (),
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
        start: heads that were learned before. They are trained further, and kept near to where
            they were (`settings.keep`).

    Returns:
        The head of x (and, two-sided, that of y); for each epoch its number, loss and validation
        MRR; and the number of the best epoch, 0 for the start.
    """
    torch.manual_seed(settings.seed)
    rows, labels, trust = map(torch.from_numpy, (x, groups, weights))
    sides = [torch.from_numpy(anchor) for anchor in anchors]
    training, validation = (
        torch.from_numpy(np.flatnonzero(part)) for part in (~held_out, held_out)
    )
    heads = make_heads(rows[training], sides[0][training], two_sided, settings)
    validate = partial(validation_mrr, heads, rows, sides, labels, trust, validation, two_sided)
    modules = nn.ModuleList(heads)
    if start:
        for head, learned in zip(heads, start, strict=True):
            head.load(learned)
        modules.eval()
        best_mrr = validate()
    else:
        own = [side[training] for side in sides]
        maps = closed_form_maps(heads, rows[training], own, trust[training])
        best_mrr = set_best(heads, maps, validate)
    best_epoch, best_heads = 0, [head.projection() for head in heads]
    initial = [parameter.detach().clone() for parameter in modules.parameters()] if start else []
    contrastive = ContrastiveLoss(settings.loss)
    optimiser = torch.optim.AdamW(
        [
            {
                "params": modules.parameters(),
                "weight_decay": 0.0 if start else settings.weight_decay,
            },
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
        for parameter, old in zip(modules.parameters() if initial else (), initial, strict=True):
            total = total + settings.keep * (parameter - old).square().sum()
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


def _structure_loss(before: torch.Tensor, after: torch.Tensor, settings: Settings) -> torch.Tensor:
    return structure_loss(before, after, settings.levels, settings.structure_temperature)
