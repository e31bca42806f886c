"""The SRU recurrence in C++, one step after another: a few cycles each, and nothing is copied."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from kernels import sequence
from kernels.sru_scan import cpu
from kernels.sru_scan.reference import check_shapes


def sru_scan(x: Tensor, f: Tensor, c0: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Computes what `kernels.sru_scan.reference.sru_scan` defines.

    Double precision is left to `kernels.sru_scan.cpu`.
    """
    if x.dtype == torch.float64:
        return cpu.sru_scan(x, f, c0)
    check_shapes(x, f, c0)
    if c0 is None:
        c0 = x.new_zeros(x.shape[0], x.shape[2], dtype=torch.float32)
    if x.shape[1] == 0:
        return x, c0.float()
    cells: Tensor = _SRUScan.apply(x.float(), f.float(), c0.float())  # pyright: ignore
    return cells.to(x.dtype), cells[:, -1]


class _SRUScan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, f: Tensor, c0: Tensor) -> Tensor:
        x, f, c0 = sequence.with_rows(x), sequence.with_rows(f), c0.contiguous()
        cells = x.new_empty(x.shape)
        sequence.run("scan", _fields(x, f) | sequence.arrays(start=c0, cells=cells))
        ctx.save_for_backward(x, f, c0, cells)
        return cells

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, grad: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        x, f, c0, cells = ctx.saved_tensors
        grad = sequence.with_rows(grad)
        dx, df, dc0 = x.new_empty(x.shape), x.new_empty(x.shape), torch.zeros_like(c0)
        fields = (
            _fields(x, f)
            | sequence.rows(dcells=grad)
            | sequence.arrays(start=c0, cells=cells, dx=dx, df=df, dstart=dc0)
        )
        sequence.run("scan_backward", fields)
        return dx, df, dc0


def _fields(x: Tensor, f: Tensor) -> dict[str, int]:
    sizes = {"n_batch": x.shape[0], "length": x.shape[1], "width": x.shape[2]}
    return sizes | sequence.rows(x=x, f=f)
