"""Simple recurrent units: a linear recurrence with gates that look at the input alone."""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn

from kernels import ops
from terraformer.sparse_dense import new_dense
from terraformer.stack_config import SRUConfig

_HIGHWAY_SCALE = math.sqrt(3.0)  # keeps the variance of the state from layer to layer


class SRU(nn.Module):
    """One recurrent layer of `n_units`.

    Source: Lei et al. 2018, arXiv:1709.02755, in the form of google/trax (no peephole).
    """

    def __init__(self, n_units: int) -> None:
        super().__init__()
        self.gates = new_dense(n_units, 3 * n_units)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Returns all outputs h.

        Args:
            x: [B, L, n_units].
            mask: [B, L], True for real tokens; the cell passes the others unchanged.
        Returns:
            [B, L, n_units].
        """
        return self.prefill(x, mask)[0]

    def prefill(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """As `forward`, with the last cell, [B, n_units], float32, from which `step` goes on."""
        r, f, candidate = self.gates(x).chunk(3, dim=-1)
        f = f.sigmoid()
        if mask is not None:
            f = f.masked_fill(~mask[..., None], 1.0)
        cells, last = ops.sru_scan(candidate, f)
        return _output(x, r.sigmoid(), cells), last

    def step(self, x_t: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Runs one position.

        Args:
            x_t: [B, n_units].
            state: Cell before it, [B, n_units], float32; zeros if None.
        Returns:
            Output, [B, n_units]; the cell after it.
        """
        r, f, candidate = self.gates(x_t).chunk(3, dim=-1)
        f = f.sigmoid().float()
        cell = (1.0 - f) * candidate
        if state is not None:
            cell = cell + f * state
        return _output(x_t, r.sigmoid(), cell.to(x_t.dtype)), cell


class SRUBranch(nn.Module):
    """d_model → n_units → SRU layers → d_model, with a layer norm of its own."""

    def __init__(self, config: SRUConfig, d_model: int, layer_norm_epsilon: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(d_model, eps=layer_norm_epsilon)
        self.w_in = new_dense(d_model, config.n_units)
        self.layers = nn.ModuleList(SRU(config.n_units) for _ in range(config.n_layers))
        self.w_out = new_dense(config.n_units, d_model)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Maps x [B, L, D] to [B, L, D], from left to right, past positions masked in [B, L]."""
        return self.prefill(x, mask)[0]

    def prefill(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, list[Tensor]]:
        """As `forward`, with the cells from which `step` goes on."""
        h = self.w_in(self.norm(x))
        cells = []
        for layer in self.layers:
            h, cell = cast(SRU, layer).prefill(h, mask)
            cells.append(cell)
        return self.w_out(h), cells

    def step(self, x_t: Tensor, state: list[Tensor] | None) -> tuple[Tensor, list[Tensor]]:
        """Maps one position [B, D] to [B, D], with the cells before and after it."""
        h = self.w_in(self.norm(x_t))
        cells = []
        for i, layer in enumerate(self.layers):
            h, cell = cast(SRU, layer).step(h, None if state is None else state[i])
            cells.append(cell)
        return self.w_out(h), cells


def _output(x: Tensor, r: Tensor, c: Tensor) -> Tensor:
    """h = r * c + (1 - r) * x * sqrt(3)."""
    return torch.lerp(x * _HIGHWAY_SCALE, c, r)
