"""The sparse feed-forward for GPUs: one Triton pass between matrix products, rows for decoding.

In training all units are computed, as tensor cores do that faster than rows can be gathered. What
follows the first product, choice, mask, ReLU and scale, takes one pass in the product's own memory.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from kernels.sparse_feed_forward import reference
from kernels.sparse_feed_forward.reference import (
    Controller,
    Selection,
    check_controller,
    check_shapes,
)
from kernels.triton_launch import Launch, launch_of, run_kernel
from kernels.triton_support import accumulator_dtype, in_triton


def sparse_feed_forward(
    x: Tensor,
    logits: Tensor,
    w1: Tensor,
    w2: Tensor,
    b2: Tensor,
    *,
    selection: Selection,
    choice: Tensor | None = None,
    multiply_by_controller: bool = False,
) -> Tensor:
    """Computes what `kernels.sparse_feed_forward.reference.sparse_feed_forward` defines.

    For the backward pass it keeps one number and the choice of each block, all active units if the
    selection is soft. The softmax is computed in float32.
    """
    check_shapes(x, logits, w1, w2)
    if torch.is_autocast_enabled(x.device.type):
        dtype = torch.get_autocast_dtype(x.device.type)
        x, logits, w1, w2, b2 = (item.to(dtype) for item in (x, logits, w1, w2, b2))
    is_soft = selection == "soft"
    choice = None if is_soft or choice is None else choice.contiguous()
    return _SparseFeedForward.apply(  # pyright: ignore[reportReturnType]
        x, logits, w1, w2, b2, choice, selection, multiply_by_controller and not is_soft
    )


def sparse_feed_forward_inference(
    x: Tensor,
    controller: Controller,
    w1: Tensor,
    w2: Tensor,
    b2: Tensor,
    *,
    block_size: int,
    multiply_by_controller: bool = False,
) -> Tensor:
    """Computes what `kernels.sparse_feed_forward.reference.sparse_feed_forward_inference` defines.

    The logits come from PyTorch's products; the kernel finds the highest of each block.
    """
    check_controller(x, controller, w1, w2, block_size)
    logits = controller.logits(x, block_size)
    return sparse_feed_forward(
        x,
        logits,
        w1,
        w2,
        b2,
        selection="hard",
        multiply_by_controller=multiply_by_controller,
    )


def sparse_feed_forward_step(
    x: Tensor,
    logits: Tensor,
    w1: Tensor,
    w2: Tensor,
    b2: Tensor,
    *,
    multiply_by_controller: bool = False,
) -> Tensor:
    """Computes what `kernels.sparse_feed_forward.reference.sparse_feed_forward_step` defines.

    Where gradients are wanted the reference computes it: nothing decodes for them.
    """
    check_shapes(x, logits, w1, w2)
    inputs = (x, logits, w1, w2, b2)
    if torch.is_grad_enabled() and any(item.requires_grad for item in inputs):
        return reference.sparse_feed_forward_step(
            *inputs, multiply_by_controller=multiply_by_controller
        )
    from kernels.sparse_feed_forward.triton_step import (
        sparse_feed_forward_out_kernel,
        sparse_feed_forward_units_kernel,
    )

    x, logits, w1, w2, b2 = (item.contiguous() for item in inputs)
    n_tokens, n_blocks, n_units = logits.shape
    width, wide = x.shape[1], accumulator_dtype(x.dtype)
    rows = torch.empty(n_tokens, n_blocks, dtype=torch.int32, device=x.device)
    units = torch.empty(n_tokens, n_blocks, dtype=wide, device=x.device)
    out = torch.empty_like(x)
    if not n_tokens:
        return out
    launch = launch_of("sparse_feed_forward_units", x.dtype, width)
    run_kernel(
        sparse_feed_forward_units_kernel,
        (-(-n_blocks // launch.block_m), n_tokens),
        *(x, logits, w1, rows, units, n_blocks),
        n_units=n_units,
        width=width,
        multiply=multiply_by_controller,
        block_g=launch.block_m,
        block_n=_power_of_two(n_units),
        block_d=min(launch.block_n, _power_of_two(width)),
        accumulator=in_triton(wide),
        num_warps=launch.n_warps,
    )
    launch = launch_of("sparse_feed_forward_out", x.dtype, width)
    run_kernel(
        sparse_feed_forward_out_kernel,
        (-(-width // launch.block_n), n_tokens),
        *(rows, units, w2, b2, out, n_blocks),
        width=width,
        block_g=min(launch.block_m, _power_of_two(n_blocks)),
        block_d=launch.block_n,
        accumulator=in_triton(wide),
        num_warps=launch.n_warps,
    )
    return out


class _SparseFeedForward(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        logits: Tensor,
        w1: Tensor,
        w2: Tensor,
        b2: Tensor,
        choice: Tensor | None,
        selection: Selection,
        multiply: bool,
    ) -> Tensor:
        from kernels.sparse_feed_forward.triton_select import sparse_feed_forward_fwd_kernel

        logits = logits.contiguous()
        with torch.autocast(x.device.type, enabled=False):
            active = torch.mm(x, w1.T)  # [T, F], all units until the kernel has run
            is_soft, choose = selection == "soft", choice is None
            kept = active.new_empty(0 if is_soft else logits.shape[:2])
            if choice is None:
                narrow = torch.uint8 if logits.shape[2] <= 256 else torch.int32
                choice = torch.empty(kept.shape, dtype=narrow, device=x.device)
            grid, sizes = _sizes(logits, x.dtype)
            if grid[0]:
                run_kernel(
                    sparse_feed_forward_fwd_kernel,
                    grid,
                    *(active, logits, choice, kept, logits[..., 0].numel()),
                    is_soft=is_soft,
                    multiply=multiply,
                    choose=choose and not is_soft,
                    **sizes,
                )
            out = torch.addmm(b2, active, w2)
        ctx.save_for_backward(x, logits, w1, w2, choice, kept, active if is_soft else None)
        ctx.selection, ctx.multiply = selection, multiply
        return out

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, grad: Tensor
    ) -> tuple[Tensor | None, ...]:
        from kernels.sparse_feed_forward.triton_select import sparse_feed_forward_bwd_kernel

        x, logits, w1, w2, choice, kept, active = ctx.saved_tensors
        with torch.autocast(x.device.type, enabled=False):
            dunits = torch.mm(grad, w2.T)  # of active units until the kernel has run
            active = torch.empty_like(dunits) if active is None else active
            has_dlogits = ctx.selection != "hard" or ctx.multiply
            dlogits = torch.empty_like(logits) if has_dlogits else None
            grid, sizes = _sizes(logits, x.dtype)
            if grid[0]:
                run_kernel(
                    sparse_feed_forward_bwd_kernel,
                    grid,
                    *(dunits, logits, choice, kept, active, logits if dlogits is None else dlogits),
                    logits[..., 0].numel(),
                    is_soft=ctx.selection == "soft",
                    straight_through=ctx.selection == "straight_through",
                    multiply=ctx.multiply,
                    **sizes,
                )
            dw1, dw2 = torch.mm(dunits.T, x), torch.mm(active.T, grad)
            dx = torch.mm(dunits, w1)
        return dx, dlogits, dw1, dw2, grad.sum(dim=0), None, None, None


def _sizes(logits: Tensor, dtype: torch.dtype) -> tuple[tuple[int], dict[str, Any]]:
    """The grid over blocks of units of all tokens, and the compile-time arguments."""
    n_tokens, n_blocks, n_units = logits.shape
    launch: Launch = launch_of("sparse_feed_forward", dtype, n_units)
    return (-(-n_tokens * n_blocks // launch.block_m),), {
        "n_units": n_units,
        "block_m": launch.block_m,
        "block_n": _power_of_two(n_units),
        "accumulator": in_triton(accumulator_dtype(dtype)),
        "num_warps": launch.n_warps,
    }


def _power_of_two(n: int) -> int:
    return 1 << max(0, n - 1).bit_length()
