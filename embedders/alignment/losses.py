"""The losses of alignment, on torch tensors of one batch."""

import math

import torch
from torch.nn import functional

# Bounds of the logarithm of the scale (1 / temperature), as CLIP has them.
_MIN_LOG_SCALE, _MAX_LOG_SCALE = math.log(1.0), math.log(100.0)


class ContrastiveLoss(torch.nn.Module):
    """A contrastive loss of unit rows, with a learned temperature.

    Other pairs of the same group are left out of the loss: they are neither right nor wrong
    answers.

    Args:
        loss: `softmax`, the symmetric InfoNCE of CLIP (Radford et al. 2021), or `sigmoid`, the loss
            of SigLIP (Zhai et al. 2023), in which each pair is a separate binary decision;
            "Scaling up Projectors" (SAIL, Zhang et al. 2024) aligns frozen encoders with it.
    """

    def __init__(self, loss: str):
        super().__init__()
        self.loss = loss
        self.log_scale = torch.nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        self.bias = torch.nn.Parameter(torch.tensor(-5.0))

    def forward(
        self, x: torch.Tensor, y: torch.Tensor, groups: torch.Tensor, weights: torch.Tensor
    ) -> torch.Tensor:
        """The loss of paired rows x (n, d) and y (n, d).

        Args:
            x: unit rows.
            y: unit rows.
            groups: (n,) labels.
            weights: (n,) 0 to 1: how much each pair counts as a right answer. As a wrong answer to
                others, a row always counts.
        """
        scores = x @ y.T * self.log_scale.clamp(_MIN_LOG_SCALE, _MAX_LOG_SCALE).exp()
        own = torch.eye(len(x), dtype=torch.bool, device=x.device)
        same_group = (groups[:, None] == groups) & ~own
        if self.loss == "sigmoid":
            signs = own.float() * 2 - 1
            losses = -functional.logsigmoid(signs * (scores + self.bias))
            losses = torch.where(own, losses * weights, losses)
            return losses.masked_fill(same_group, 0).sum() / len(x)
        scores = scores.masked_fill(same_group, -torch.inf)
        answers = torch.arange(len(x), device=x.device)
        forward = functional.cross_entropy(scores, answers, reduction="none")
        backward = functional.cross_entropy(scores.T, answers, reduction="none")
        return (weights * (forward + backward)).sum() / (2 * weights.sum().clamp_min(1e-6))


def structure_loss(
    before: torch.Tensor, after: torch.Tensor, levels: int, temperature: float
) -> torch.Tensor:
    """How much a projection changes the neighbourhoods of a batch; 0 if it keeps them.

    STRUCTURE (Groeger et al. 2025): rows are centred and scaled to unit length, and a softmax turns
    their similarities into distributions P. The Jensen-Shannon divergence of P^l before and after
    is averaged over the levels l = 1..L with weights 1/l; P^l stands for the neighbours of
    neighbours. Unlike in the paper, a row is not its own neighbour: its similarity to itself would
    outweigh all others.

    Args:
        before: (n, d) the encoder's rows.
        after: (n, d') the projected rows.
        levels: L.
        temperature: of the softmax.
    """
    p, q = (_neighbour_distribution(rows, temperature) for rows in (before, after))
    p_level, q_level = p, q
    total = before.new_zeros(())
    for level in range(1, levels + 1):
        total = total + _jensen_shannon(p_level, q_level) / level
        p_level, q_level = p_level @ p, q_level @ q
    return total / levels


def _neighbour_distribution(rows: torch.Tensor, temperature: float) -> torch.Tensor:
    unit = functional.normalize(rows - rows.mean(0), dim=1)
    similarity = (unit @ unit.T / temperature).fill_diagonal_(-torch.inf)
    return torch.softmax(similarity, dim=1)


def _jensen_shannon(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    """The Jensen-Shannon divergence in nats, averaged over rows."""
    middle = ((p + q) / 2).clamp_min(1e-12).log()
    sides = (functional.kl_div(middle, side.clamp_min(1e-12).log(), log_target=True,
                               reduction="batchmean") for side in (p, q))  # fmt: skip
    return sum(sides, start=p.new_zeros(())) / 2
