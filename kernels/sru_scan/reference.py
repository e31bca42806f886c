"""The SRU recurrence one step after another: the definition of correct."""

from __future__ import annotations

import torch
from torch import Tensor


def sru_scan(x: Tensor, f: Tensor, c0: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Runs the SRU recurrence c_t = f_t * c_{t-1} + (1 - f_t) * x_t.

    Args:
        x: Candidate values, [B, L, D].
        f: Forget gate in (0, 1), shape and dtype of x.
        c0: Initial cell, [B, D], float32; zeros if None.
    Returns:
        All cells, [B, L, D], dtype of x; the last cell, [B, D], float32.
    Raises:
        ValueError: if f and x differ in shape, or c0 does not fit them.
    Source: Lei et al. 2018, arXiv:1709.02755 (cell equation).
    Differs: accumulates in float32 (in float64 where x is).
    """
    check_shapes(x, f, c0)
    wide = torch.promote_types(x.dtype, torch.float32)
    candidates, forget = x.to(wide), f.to(wide)
    c = x.new_zeros(x.shape[0], x.shape[2], dtype=wide) if c0 is None else c0.to(wide)
    cells = []
    for t in range(x.shape[1]):
        c = forget[:, t] * c + (1.0 - forget[:, t]) * candidates[:, t]
        cells.append(c)
    return (torch.stack(cells, dim=1) if cells else candidates).to(x.dtype), c


def check_shapes(x: Tensor, f: Tensor, c0: Tensor | None) -> None:
    """Raises a ValueError if the arguments of `sru_scan` do not fit one another."""
    if x.dim() != 3 or x.shape != f.shape:
        raise ValueError(f"x {tuple(x.shape)} and f {tuple(f.shape)} must both be [B, L, D]")
    if c0 is not None and c0.shape != (x.shape[0], x.shape[2]):
        raise ValueError(f"c0 {tuple(c0.shape)} must be [{x.shape[0]}, {x.shape[2]}]")
