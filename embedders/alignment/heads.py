"""Projections in training, in torch, and how well they rank held-out pairs."""

import torch
from torch import nn
from torch.nn import functional

from embedders.alignment.settings import Settings
from embedders.projection import Projection
from store.errors import InputError


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

    def load(self, projection: Projection) -> None:
        """Start from a projection that was learned before; the reverse of `projection`.

        Raises:
            InputError: it is of another kind or shape than the settings say.
        """
        own = tuple(self.linear.weight.T.shape), "linear" if self.hidden is None else "mlp"
        if ((projection.dim_in, projection.dim), projection.kind) != own:
            raise InputError(
                f"the projection is {projection.kind} of {projection.dim_in} to {projection.dim}"
                f" numbers, but {own[1]} of {own[0][0]} to {own[0][1]} is trained: learn it anew"
            )
        tensors = {name: torch.from_numpy(t) for name, t in projection.tensors.items()}
        layers = {"": self.linear} | ({} if self.hidden is None else {"hidden_": self.hidden})
        with torch.no_grad():
            for prefix, layer in layers.items():
                weight = tensors[f"{prefix}weight"].T
                layer.weight.copy_(weight / self.scale)
                layer.bias.copy_(tensors[f"{prefix}bias"] + weight @ self.mean)
            if self.out is not None:
                self.out.weight.copy_(tensors["out_weight"].T)

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


def make_heads(x: torch.Tensor, y: torch.Tensor, two_sided: bool, settings: Settings) -> list[Head]:
    """The head of x and, two-sided, that of y, which standardise by these training rows."""
    if two_sided:
        return [Head(rows, settings.dim, settings) for rows in (x, y)]
    return [Head(x, y.shape[1], settings)]


@torch.no_grad()
def validation_mrr(
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

    Args:
        heads: of x and, two-sided, of y.
        rows: (n, d_x) features of x.
        sides: (n, d_y) each; a row of NaN is missing.
        labels: (n,) of groups.
        trust: (n,) weights of the pairs.
        validation: (k,) the pairs that are ranked.
        two_sided: whether y is projected.
    """
    reciprocal_ranks, weights = [], []
    for side in sides:
        asked = validation[torch.isfinite(side[validation]).all(1)]
        if not len(asked):
            continue
        x = heads[0](rows[asked])
        y = heads[1](side[asked]) if two_sided else functional.normalize(side[asked], dim=1)
        scores, is_right = x @ y.T, labels[asked][:, None] == labels[asked]
        for directed in (scores, scores.T):
            best = directed.masked_fill(~is_right, -torch.inf).amax(1, keepdim=True)
            reciprocal_ranks.append(1 / (1 + (directed > best).sum(1).float()))
            weights.append(trust[asked])
    total = torch.cat(weights).sum().clamp_min(1e-6)
    return float((torch.cat(reciprocal_ranks) * torch.cat(weights)).sum() / total)
