"""The SRU recurrence over blocks of time side by side: about 2 * sqrt(L) steps instead of L."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from kernels.sru_scan.reference import check_shapes


def sru_scan(x: Tensor, f: Tensor, c0: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Computes what `kernels.sru_scan.reference.sru_scan` defines.

    Only products of forget gates are formed, never quotients, so gates near 0 or 1 are safe.
    """
    check_shapes(x, f, c0)
    wide = torch.promote_types(x.dtype, torch.float32)
    if c0 is None:
        c0 = x.new_zeros(x.shape[0], x.shape[2], dtype=wide)
    if x.shape[1] == 0:
        return x, c0.to(wide)
    cells: Tensor = _SRUScan.apply(x.to(wide), f.to(wide), c0.to(wide))  # pyright: ignore
    return cells.to(x.dtype), cells[:, -1]


class _SRUScan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, f: Tensor, c0: Tensor) -> Tensor:
        cells = _linear_scan(f, torch.lerp(x, torch.zeros_like(x), f), c0)
        ctx.save_for_backward(x, f, c0, cells)
        return cells

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, grad: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        x, f, c0, cells = ctx.saved_tensors
        # The same recurrence backwards: g_t = grad_t + f_{t+1} * g_{t+1}
        decay = torch.cat([torch.zeros_like(f[:, :1]), f[:, 1:].flip(1)], dim=1)
        total = _linear_scan(decay, grad.flip(1), torch.zeros_like(c0)).flip(1)
        before = torch.cat([c0[:, None], cells[:, :-1]], dim=1)
        return total * (1.0 - f), total * (before - x), total[:, 0] * f[:, 0]


def _linear_scan(decay: Tensor, x: Tensor, c0: Tensor) -> Tensor:
    """Computes c_t = decay_t * c_{t-1} + x_t.

    Args:
        decay: Factors in [0, 1], [B, L, D].
        x: Summands, [B, L, D].
        c0: [B, D].
    Returns:
        All c_t, [B, L, D].
    """
    batch, length, width = x.shape
    n_steps = math.isqrt(length - 1) + 1
    n_blocks = -(-length // n_steps)
    c, carry = (  # [T, B, n, D]: step t of all blocks is contiguous
        torch.nn.functional.pad(item, (0, 0, 0, n_blocks * n_steps - length))
        .view(batch, n_blocks, n_steps, width)
        .permute(2, 0, 1, 3)
        .contiguous()
        for item in (x, decay)
    )
    # Within a block: c becomes its cells as if it began with zero, carry what is left of the start.
    for t in range(1, n_steps):
        c[t].addcmul_(carry[t], c[t - 1])
        carry[t].mul_(carry[t - 1])
    starts = torch.empty_like(c[0])  # [B, n, D]
    starts[:, 0] = c0
    for block in range(1, n_blocks):
        torch.addcmul(
            c[-1, :, block - 1], carry[-1, :, block - 1], starts[:, block - 1], out=starts[:, block]
        )
    c.addcmul_(carry, starts)
    return c.permute(1, 2, 0, 3).reshape(batch, n_blocks * n_steps, width)[:, :length]
