"""LSH attention for GPUs: Triton kernels that gather rows, keep no scores and add without atomics.

Beside inputs and outputs, memory holds the sorted positions (4 bytes a token, head and round), two
numbers a token and head, and sums in float32 where several rounds add up values of half precision.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from kernels.lsh_attention.reference import NORM_EPSILON, check_shapes
from kernels.triton_launch import block_of, launch_of, run_kernel
from kernels.triton_support import accumulator_dtype, dot_dtype, dot_precision, in_triton, with_rows

_ROWS_OF_A_PRODUCT = 64


def lsh_attention(
    qk: Tensor,
    v: Tensor,
    buckets: Tensor,
    mask: Tensor | None = None,
    *,
    chunk_len: int,
    n_chunks_before: int = 1,
    n_chunks_after: int = 0,
    causal: bool = False,
    weight_scale: Tensor | None = None,
) -> Tensor:
    """Computes what `kernels.lsh_attention.reference` defines, without its option.

    Rounds run one after another, each with one program for every block of rows; half precision is
    multiplied as it is and summed in float32.
    """
    window = (chunk_len, n_chunks_before, n_chunks_after)
    check_shapes(qk, v, buckets, mask, window, weight_scale)
    if qk.shape[2] == 0:
        return v
    dtype = torch.promote_types(qk.dtype, v.dtype)
    order, lengths = sort_positions(buckets, mask)
    if weight_scale is not None:
        weight_scale = weight_scale.contiguous()
    out: Tensor = _LSHAttention.apply(  # pyright: ignore[reportAssignmentType]
        qk.to(dtype), v.to(dtype), order, lengths, window, causal, weight_scale
    )
    return out.to(v.dtype)


def sort_positions(buckets: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Sorts positions by (bucket, time), padding last, without waiting for the device.

    Args:
        buckets: [B, H, R, L], integers below 2^31 - 1.
        mask: [B, L], True for real tokens; all are real if None.
    Returns:
        Positions, [B, H, R, L], int32; numbers of real tokens, [B], int32.
    """
    batch, _, _, length = buckets.shape
    keys = buckets.to(torch.int32)
    if mask is None:
        lengths = torch.full((batch,), length, dtype=torch.int32, device=buckets.device)
    else:
        keys = keys.masked_fill(~mask[:, None, None], torch.iinfo(torch.int32).max)
        lengths = mask.sum(dim=-1, dtype=torch.int32)
    return keys.argsort(dim=-1, stable=True).to(torch.int32), lengths


class _LSHAttention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        qk: Tensor,
        v: Tensor,
        order: Tensor,
        lengths: Tensor,
        window: tuple[int, int, int],
        causal: bool,
        weight_scale: Tensor | None,
    ) -> Tensor:
        from kernels.lsh_attention.triton_forward import lsh_attention_fwd_kernel

        qk, v = with_rows(qk), with_rows(v)
        wide = accumulator_dtype(v.dtype)
        key_scale = _row_dot(qk, qk, NORM_EPSILON)
        out, total = torch.empty_like(v), torch.empty_like(key_scale)
        n_rounds = order.shape[2]
        sums = out if n_rounds == 1 or v.dtype == wide else torch.empty_like(v, dtype=wide)
        launch, sizes = _sizes("fwd", qk, v, window, causal, weight_scale)
        for i in range(n_rounds):
            target = out if i == n_rounds - 1 else sums
            run_kernel(
                lsh_attention_fwd_kernel,
                _grid(order, window[0], sizes["block_m"]),
                qk,
                v,
                key_scale,
                order,
                lengths,
                qk if weight_scale is None else weight_scale,
                sums,
                target,
                total,
                i,
                *_strides(qk, v, sums, target),
                n_rounds=n_rounds,
                **sizes,
                **launch,
            )
        ctx.save_for_backward(qk, v, order, lengths, out, total, key_scale, weight_scale)
        ctx.window, ctx.causal = window, causal
        return out

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, grad: Tensor
    ) -> tuple[Tensor | None, ...]:
        from kernels.lsh_attention.triton_backward import lsh_attention_bwd_kernel

        qk, v, order, lengths, out, total, key_scale, weight_scale = ctx.saved_tensors
        grad = with_rows(grad)
        delta = _row_dot(grad, out)
        final = torch.empty_like(qk), torch.empty_like(v)
        n_rounds, sums = order.shape[2], final
        wide = accumulator_dtype(v.dtype)
        if n_rounds > 1 and v.dtype != wide:
            sums = tuple(torch.empty_like(item, dtype=wide) for item in final)
        launch, sizes = _sizes("bwd", qk, v, ctx.window, ctx.causal, weight_scale)
        for i in range(n_rounds):
            targets = final if i == n_rounds - 1 else sums
            run_kernel(
                lsh_attention_bwd_kernel,
                _grid(order, ctx.window[0], sizes["block_m"]),
                qk,
                v,
                grad,
                key_scale,
                order,
                lengths,
                qk if weight_scale is None else weight_scale,
                total,
                delta,
                *sums,
                *targets,
                i,
                *_strides(qk, v, grad, *sums, *targets),
                n_rounds=n_rounds,
                **sizes,
                **launch,
            )
        return *final, None, None, None, None, None


def _row_dot(x: Tensor, y: Tensor, epsilon: float = 0.0) -> Tensor:
    """Sums of x * y over the rows of [B, H, L, K], or with an epsilon the scales of keys."""
    from kernels.lsh_attention.triton_tile import row_dot_kernel

    batch, n_heads, length, width = x.shape
    wide = accumulator_dtype(x.dtype)
    out = torch.empty(batch, n_heads, length, dtype=wide, device=x.device)
    run_kernel(
        row_dot_kernel,
        (-(-length // _ROWS_OF_A_PRODUCT), batch * n_heads),
        x,
        y,
        out,
        n_heads,
        length,
        *x.stride()[:3],
        *y.stride()[:3],
        width=width,
        block=block_of(width),
        block_m=_ROWS_OF_A_PRODUCT,
        accumulator=in_triton(wide),
        epsilon=epsilon,
    )
    return out


def _sizes(
    direction: str,
    qk: Tensor,
    v: Tensor,
    window: tuple[int, int, int],
    causal: bool,
    weight_scale: Tensor | None,
) -> tuple[dict[str, int], dict[str, Any]]:
    """How the kernel of a direction is launched, and its compile-time arguments."""
    chunk_len, n_before, n_after = window
    d_qk, d_v = qk.shape[-1], v.shape[-1]
    settings = launch_of(f"lsh_attention_{direction}", qk.dtype, max(d_qk, d_v))
    launch = {"num_warps": settings.n_warps, "num_stages": settings.n_stages}
    return launch, {
        "chunk_len": chunk_len,
        "n_before": n_before,
        "n_window": n_before + 1 + n_after,
        "causal": causal,
        "has_scale": weight_scale is not None,
        "d_qk": d_qk,
        "d_v": d_v,
        "block_qk": block_of(d_qk),
        "block_v": block_of(d_v),
        "block_m": block_of(chunk_len, settings.block_m),
        "block_n": block_of(chunk_len, settings.block_n),
        "operand": in_triton(dot_dtype(qk.dtype)),
        "accumulator": in_triton(accumulator_dtype(qk.dtype)),
        "precision": dot_precision(),
    }


def _grid(order: Tensor, chunk_len: int, block_m: int) -> tuple[int, int]:
    batch, n_heads, _, length = order.shape
    return -(-length // chunk_len) * -(-chunk_len // block_m), batch * n_heads


def _strides(qk: Tensor, *others: Tensor) -> tuple[int, ...]:
    """Heads, length, and the strides of all tensors over batch, heads and length."""
    strides = (stride for item in (qk, *others) for stride in item.stride()[:3])
    return qk.shape[1], qk.shape[2], *strides
