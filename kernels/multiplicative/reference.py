"""The multiplicative dense layer in plain PyTorch."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def multiplicative_dense(
    x: Tensor, projection: Tensor, gate: Tensor | None = None, bias: Tensor | None = None
) -> Tensor:
    """Returns y[s * M + m] = Σ_d x[d] * gate[s, d] * projection[m, d] + bias[s * M + m].

    Gating multiplies a token S times, or the projection once for all: it is done where it makes
    less.

    Args:
        x: [..., D].
        projection: What all modules of the output share, [M, D].
        gate: One row for each of S modules, [S, D]; None is one open module, a dense layer.
        bias: [S * M], or none.
    Returns:
        [..., S * M].
    Source: Jaszczur et al. 2021, arXiv:2111.12763, section 3.2 (multiplicative layer).
    """
    if gate is None:
        return F.linear(x, projection, bias)
    if x.shape[:-1].numel() <= projection.shape[0]:
        out = F.linear(x[..., None, :] * gate, projection).flatten(-2)
        return out if bias is None else out + bias
    weight = (gate[:, None] * projection).flatten(0, 1)  # [S * M, D]
    return F.linear(x, weight, bias)


def check_layer(
    x: Tensor, projection: Tensor, gate: Tensor | None, bias: Tensor | None
) -> tuple[int, int]:
    """Returns S and M, or raises a ValueError if rows x [T, D] do not fit the layer."""
    if x.dim() != 2 or projection.dim() != 2 or x.shape[1] != projection.shape[1]:
        raise ValueError(
            f"x {tuple(x.shape)} must be [T, D], projection {tuple(projection.shape)} [M, D]"
        )
    if gate is not None and (gate.dim() != 2 or gate.shape[1] != x.shape[1]):
        raise ValueError(f"gate {tuple(gate.shape)} must be [S, {x.shape[1]}]")
    n_modules = 1 if gate is None else len(gate)
    d_out = n_modules * len(projection)
    if bias is not None and bias.shape != (d_out,):
        raise ValueError(f"bias {tuple(bias.shape)} must be [{d_out}]")
    return n_modules, len(projection)
