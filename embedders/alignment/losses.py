"""What alignment minimises, on torch tensors of one batch."""

import math

import torch
from torch.nn import functional

_LEAST, _MOST = math.log(1.0), math.log(100.0)  # of the logarithm of the scale, as CLIP bounds it


class Contrast(torch.nn.Module):
    """A contrastive loss of unit rows, with a learned temperature.

    Args:
        loss: `softmax`, the symmetric InfoNCE of CLIP (Radford et al. 2021), or `sigmoid`, that of
            SigLIP (Zhai et al. 2023), each pair a question of its own; "Scaling up Projectors"
            (SAIL, Zhang et al. 2024) aligns frozen encoders with the latter.

    Pairs of one group are neither right nor wrong answers to each other and are left out.
    """

    def __init__(self, loss: str):
        super().__init__()
        self.loss = loss
        self.log_scale = torch.nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        self.bias = torch.nn.Parameter(torch.tensor(-5.0))

    def forward(self, x: torch.Tensor, y: torch.Tensor, groups: torch.Tensor) -> torch.Tensor:
        """The loss of rows (n, d) and (n, d), pair by pair; `groups` (n,)."""
        scores = x @ y.T * self.log_scale.clamp(_LEAST, _MOST).exp()
        own = torch.eye(len(x), dtype=torch.bool, device=x.device)
        others = (groups[:, None] == groups) & ~own
        if self.loss == "sigmoid":
            signs = own.float() * 2 - 1
            losses = -functional.logsigmoid(signs * (scores + self.bias))
            return losses.masked_fill(others, 0).sum() / len(x)
        scores = scores.masked_fill(others, -torch.inf)
        answers = torch.arange(len(x), device=x.device)
        rows = functional.cross_entropy(scores, answers)
        return (rows + functional.cross_entropy(scores.T, answers)) / 2


def structure(
    before: torch.Tensor, after: torch.Tensor, levels: int, temperature: float
) -> torch.Tensor:
    """How far a projection bends the neighbourhoods of a batch; 0 where it keeps them.

    STRUCTURE (Groeger et al. 2025): rows are centred and scaled to unit length, their similarities
    become distributions P by a softmax, and the Jensen-Shannon divergence of P^l before and after
    is averaged over the levels l = 1..L with weights 1/l. P^l are the neighbours of neighbours. A
    row is no neighbour of its own here: its likeness to itself would outweigh all others.

    Args:
        before: (n, d) the encoder's rows.
        after: (n, d') the projected rows.
    """
    p, q = (_neighbours(rows, temperature) for rows in (before, after))
    p_level, q_level = p, q
    total = before.new_zeros(())
    for level in range(1, levels + 1):
        total = total + _divergence(p_level, q_level) / level
        p_level, q_level = p_level @ p, q_level @ q
    return total / levels


def _neighbours(rows: torch.Tensor, temperature: float) -> torch.Tensor:
    unit = functional.normalize(rows - rows.mean(0), dim=1)
    similarity = (unit @ unit.T / temperature).fill_diagonal_(-torch.inf)
    return torch.softmax(similarity, dim=1)


def _divergence(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    """Jensen-Shannon, in nats, the mean over rows."""
    middle = ((p + q) / 2).clamp_min(1e-12).log()
    sides = (functional.kl_div(middle, side.clamp_min(1e-12).log(), log_target=True,
                               reduction="batchmean") for side in (p, q))  # fmt: skip
    return sum(sides, start=p.new_zeros(())) / 2
