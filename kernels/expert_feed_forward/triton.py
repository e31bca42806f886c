"""Experts for GPUs: one kernel goes over the tiles of all experts, and no token is padding.

Going back it keeps the tokens and the units after ReLU and dropout; gradients of the units are the
one workspace, as large as the units.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from kernels.expert_feed_forward.reference import check_shapes
from kernels.multiplicative.triton import product_options, step_of
from kernels.triton_launch import block_of, launch_of, run_kernel


def expert_feed_forward(
    tokens: Tensor,
    n_tokens: Tensor,
    w1: Tensor,
    b1: Tensor,
    w2: Tensor,
    b2: Tensor,
    *,
    kept: Tensor | None = None,
    dropout: float = 0.0,
) -> Tensor:
    """Computes what `kernels.expert_feed_forward.reference.expert_feed_forward` defines.

    Half precision is multiplied as it is and summed in float32. The device alone reads `n_tokens`.
    """
    check_shapes(tokens, n_tokens, w1, b1, w2, b2, kept)
    return _ExpertFeedForward.apply(  # pyright: ignore[reportReturnType]
        tokens, n_tokens, w1, b1, w2, b2, kept, 1.0 if kept is None else 1.0 / (1.0 - dropout)
    )


class _ExpertFeedForward(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        tokens: Tensor,
        n_tokens: Tensor,
        w1: Tensor,
        b1: Tensor,
        w2: Tensor,
        b2: Tensor,
        kept: Tensor | None,
        factor: float,
    ) -> Tensor:
        values = tokens, w1, b1, w2, b2
        ctx.dtypes = [item.dtype for item in values]
        if torch.is_autocast_enabled(tokens.device.type):
            dtype = torch.get_autocast_dtype(tokens.device.type)
            values = [item.to(dtype) for item in values]
        tokens, w1, b1, w2, b2 = (item.contiguous() for item in values)
        units = _forward(tokens, n_tokens, w1, b1, kept, factor, relu=True)
        out = _forward(units, n_tokens, w2, b2, None, 1.0, relu=False)
        ctx.save_for_backward(tokens, n_tokens, w1, w2, units)
        ctx.factor = factor
        return out

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, grad: Tensor
    ) -> tuple[Tensor | None, ...]:
        tokens, n_tokens, w1, w2, units = ctx.saved_tensors
        grad = grad.contiguous()
        dtypes = ctx.dtypes
        dunits = _backward_rows(grad, n_tokens, w2, units, ctx.factor, units.dtype)
        dw2, db2 = _backward_weights(grad, units, n_tokens, dtypes[3:5])
        dw1, db1 = _backward_weights(dunits, tokens, n_tokens, dtypes[1:3])
        dtokens = _backward_rows(dunits, n_tokens, w1, None, 1.0, dtypes[0])
        return dtokens, None, dw1, db1, dw2, db2, None, None


def _forward(
    rows: Tensor,
    n_rows: Tensor,
    weight: Tensor,
    bias: Tensor,
    kept: Tensor | None,
    factor: float,
    relu: bool,
) -> Tensor:
    """Outputs [N, d_out] of rows [N, d_in] by their experts' weights [E, d_out, d_in]."""
    from kernels.expert_feed_forward.triton_rows import expert_feed_forward_fwd_kernel

    n_experts, d_out, d_in = weight.shape
    out = torch.empty(len(rows), d_out, dtype=rows.dtype, device=rows.device)
    mask = n_rows if kept is None else kept.contiguous().view(torch.uint8)
    if len(rows):
        grid, sizes = _sizes("fwd", rows, n_experts, d_in, d_out)
        run_kernel(
            expert_feed_forward_fwd_kernel,
            grid,
            *(rows, n_rows, weight, bias, mask, out),
            factor=factor,
            relu=relu,
            has_kept=kept is not None,
            **sizes,
        )
    return out


def _backward_rows(
    grad: Tensor,
    n_rows: Tensor,
    weight: Tensor,
    units: Tensor | None,
    factor: float,
    dtype: torch.dtype,
) -> Tensor:
    """Gradients of rows [N, d_in] from those of outputs [N, d_out]; only of units that passed."""
    from kernels.expert_feed_forward.triton_rows import expert_feed_forward_dx_kernel

    n_experts, d_in, d_out = weight.shape  # as the product goes: from outputs to inputs
    dx = torch.empty(len(grad), d_out, dtype=dtype, device=grad.device)
    if len(grad):
        grid, sizes = _sizes("dx", grad, n_experts, d_in, d_out)
        run_kernel(
            expert_feed_forward_dx_kernel,
            grid,
            *(grad, n_rows, weight, grad if units is None else units, dx),
            factor=factor,
            has_units=units is not None,
            **sizes,
        )
    return dx


def _backward_weights(
    grad: Tensor, rows: Tensor, n_rows: Tensor, dtypes: list[torch.dtype]
) -> tuple[Tensor, Tensor]:
    """Gradients of weights [E, d_out, d_in] and biases [E, d_out], in these dtypes."""
    from kernels.expert_feed_forward.triton_weights import expert_feed_forward_dw_kernel

    n_experts, d_out, d_in = len(n_rows), grad.shape[1], rows.shape[1]
    dweight = torch.empty(n_experts, d_out, d_in, dtype=dtypes[0], device=grad.device)
    dbias = torch.empty(n_experts, d_out, dtype=dtypes[1], device=grad.device)
    _, sizes = _sizes("dw", grad, n_experts, d_in, d_out)
    sizes["block_m"] = block_of(d_out, sizes["block_m"])
    grid = -(-d_out // sizes["block_m"]), -(-d_in // sizes["block_n"]), n_experts
    run_kernel(expert_feed_forward_dw_kernel, grid, grad, rows, n_rows, dweight, dbias, **sizes)
    return dweight, dbias


def _sizes(
    kind: str, rows: Tensor, n_experts: int, d_in: int, d_out: int
) -> tuple[tuple[int, int], dict[str, Any]]:
    """The grid over tiles of rows, of which there may be a few too many; compile-time arguments."""
    settings = launch_of(f"expert_feed_forward_{kind}", rows.dtype, max(d_in, d_out))
    n_tiles = min(len(rows), len(rows) // settings.block_m + n_experts)
    return (n_tiles, -(-d_out // settings.block_n)), {
        "n_experts": n_experts,
        "d_in": d_in,
        "d_out": d_out,
        "block_e": block_of(n_experts),
        "block_m": settings.block_m,
        "block_n": settings.block_n,
        "block_k": step_of(rows.dtype),
        **product_options(rows.dtype, settings),
    }
