"""The SRU recurrence for GPUs: three Triton kernels a direction, parallel over time as well.

What each block of time does to a cell is found first, then the cells between blocks, then all
cells. The backward pass keeps x, f and the cells. The workspace is two numbers a block and unit.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from kernels.sru_scan.reference import check_shapes
from kernels.triton_launch import Launch, launch_of, run_kernel
from kernels.triton_support import accumulator_dtype, in_triton, with_rows

_PROGRAMS = 4096  # to be had: a program is one warp, and a GPU holds some thousands
_LEAST_TILES, _MOST_TILES = 4, 64


def sru_scan(x: Tensor, f: Tensor, c0: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Computes what `kernels.sru_scan.reference.sru_scan` defines.

    Gradients are made of the cells as they are returned, in half precision where x has it.
    """
    check_shapes(x, f, c0)
    wide = accumulator_dtype(x.dtype)
    if c0 is None:
        c0 = x.new_zeros(x.shape[0], x.shape[2], dtype=wide)
    if x.numel() == 0:
        return x, c0.to(wide)
    cells, last = _SRUScan.apply(x, f, c0.to(wide))  # pyright: ignore[reportGeneralTypeIssues]
    return cells, last


class _SRUScan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, f: Tensor, c0: Tensor) -> tuple[Tensor, Tensor]:
        from kernels.sru_scan.triton_apply import sru_scan_fwd_kernel

        x, f, c0 = with_rows(x), with_rows(f), c0.contiguous()
        cells = torch.empty(x.shape, dtype=x.dtype, device=x.device)
        last = torch.empty_like(c0)
        cut = _Cut(x)
        strides = *x.stride()[:2], *f.stride()[:2]
        ends = cut.ends(x, f, c0, strides, backwards=False)
        run_kernel(
            sru_scan_fwd_kernel,
            cut.grid,
            x,
            f,
            c0,
            ends,
            cells,
            last,
            *x.shape[1:],
            cut.n_tiles,
            *strides,
            **cut.sizes,
        )
        ctx.save_for_backward(x, f, c0, cells)
        return cells, last

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, grad: Tensor, grad_last: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        from kernels.sru_scan.triton_apply import sru_scan_bwd_kernel

        x, f, c0, cells = ctx.saved_tensors
        grad, grad_last = with_rows(grad), grad_last.contiguous()
        dx, df = (torch.empty(x.shape, dtype=x.dtype, device=x.device) for _ in range(2))
        dc0 = torch.empty_like(c0)
        cut = _Cut(x)
        strides = *grad.stride()[:2], *f.stride()[:2]
        ends = cut.ends(grad, f, grad_last, strides, backwards=True)
        run_kernel(
            sru_scan_bwd_kernel,
            cut.grid,
            grad,
            x,
            f,
            cells,
            c0,
            grad_last,
            ends,
            dx,
            df,
            dc0,
            *x.shape[1:],
            cut.n_tiles,
            *grad.stride()[:2],
            *x.stride()[:2],
            *f.stride()[:2],
            **cut.sizes,
        )
        return dx, df, dc0


class _Cut:
    """How values [B, L, D] are cut into blocks of time, and launched."""

    def __init__(self, x: Tensor) -> None:
        batch, length, self.width = x.shape
        settings: Launch = launch_of("sru_scan", x.dtype, self.width)
        n_columns = -(-self.width // settings.block_n)
        n_steps = -(-length * batch * n_columns // _PROGRAMS)
        n_tiles = -(-n_steps // settings.block_m)
        self.n_tiles = min(max(n_tiles, _LEAST_TILES), _MOST_TILES)
        n_blocks = -(-length // (self.n_tiles * settings.block_m))
        self.grid = (n_blocks, n_columns, batch)
        self.accumulator = accumulator_dtype(x.dtype)
        self.sizes: dict[str, Any] = {
            "block_t": settings.block_m,
            "block_d": settings.block_n,
            "accumulator": in_triton(self.accumulator),
            "num_warps": settings.n_warps,
        }

    def ends(
        self, x: Tensor, f: Tensor, start: Tensor, strides: tuple[int, ...], backwards: bool
    ) -> Tensor:
        """The cells after each block, [B, n, D]; of a single block nobody needs them."""
        from kernels.sru_scan.triton_scan import sru_scan_block_kernel, sru_scan_carry_kernel

        n_blocks, n_columns, batch = self.grid
        if n_blocks == 1:
            return start
        shape = (2, batch, n_blocks, self.width)
        decays, ends = torch.empty(shape, dtype=self.accumulator, device=x.device)
        run_kernel(
            sru_scan_block_kernel,
            self.grid,
            x,
            f,
            decays,
            ends,
            *x.shape[1:],
            self.n_tiles,
            *strides,
            backwards,
            **self.sizes,
        )
        run_kernel(
            sru_scan_carry_kernel,
            (n_columns, batch),
            decays,
            ends,
            start,
            n_blocks,
            self.width,
            **self.sizes,
        )
        return ends
