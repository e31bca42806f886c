"""LSH attention and its hash in C++: one chunk after another, in tiles that stay in the cache.

Nothing is as large as scores or as sorted copies would be, in the backward pass either, which
computes the weights anew.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.amp.autocast_mode import custom_bwd, custom_fwd
from torch.autograd.function import once_differentiable

from kernels import huge_page, sequence
from kernels.lsh_attention import cpu
from kernels.lsh_attention.reference import at_least_float32, check_rotations, check_shapes


def hash_buckets(
    q: Tensor, rotations: Tensor, n_buckets: tuple[int, ...], mask: Tensor | None = None
) -> Tensor:
    """Computes what `kernels.lsh_attention.reference.hash_buckets` defines.

    No product with a direction is kept longer than until the next one is compared with it.
    """
    check_rotations(rotations, n_buckets)
    q = sequence.with_rows(q.float())
    batch, n_heads, length, d_key = q.shape
    rotations = rotations.float().expand(n_heads, *rotations.shape[-3:]).contiguous()
    factors = torch.tensor(n_buckets)
    buckets = torch.empty(batch, n_heads, rotations.shape[2], length, dtype=torch.int64)
    fields = {
        "n_batch": batch,
        "n_heads": n_heads,
        "n_rounds": rotations.shape[2],
        "length": length,
        "d_key": d_key,
        "n_factors": len(n_buckets),
        **sequence.rows(q=q),
        **sequence.arrays(factors=factors, rotations=rotations, buckets=buckets),
    }
    sequence.run("hash_buckets", fields)
    if mask is not None:
        buckets.masked_fill_(~mask[:, None, None, :], math.prod(n_buckets))
    return buckets


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

    Outputs and gradients are the same for any number of threads. Double precision is left to
    `kernels.lsh_attention.cpu`.
    """
    if torch.float64 in (qk.dtype, v.dtype):
        return cpu.lsh_attention(
            qk,
            v,
            buckets,
            mask,
            chunk_len=chunk_len,
            n_chunks_before=n_chunks_before,
            n_chunks_after=n_chunks_after,
            causal=causal,
            weight_scale=weight_scale,
        )
    window = (chunk_len, n_chunks_before, n_chunks_after)
    check_shapes(qk, v, buckets, mask, window, weight_scale)
    if mask is not None and bool(mask.all()):
        mask = None
    options = {
        "n_batch": qk.shape[0],
        "n_heads": qk.shape[1],
        "n_rounds": buckets.shape[2],
        "length": qk.shape[2],
        "d_key": qk.shape[3],
        "d_value": v.shape[3],
        "chunk_len": chunk_len,
        "n_chunks_before": n_chunks_before,
        "n_chunks_after": n_chunks_after,
        "causal": int(causal),
    }
    return _LSHAttention.apply(qk, v, buckets, mask, weight_scale, options)


class _LSHAttention(torch.autograd.Function):
    @staticmethod
    @custom_fwd(device_type="cpu", cast_inputs=torch.float32)
    def forward(
        ctx: Any,
        qk: Tensor,
        v: Tensor,
        buckets: Tensor,
        mask: Tensor | None,
        weight_scale: Tensor | None,
        options: dict[str, int],
    ) -> Tensor:
        order = _sort(buckets, mask)
        lengths = torch.full((qk.shape[0],), qk.shape[2]) if mask is None else mask.sum(dim=-1)
        if weight_scale is not None:
            weight_scale = at_least_float32(weight_scale).contiguous()
        q, values = (sequence.with_rows(at_least_float32(item)) for item in (qk, v))
        out = _rows_like(values)
        if mask is not None:
            out.zero_()
        largest, total = q.new_empty(2, *q.shape[:3])
        rows = {"qk": q, "v": values, "out": out}
        arrays = {
            "order": order,
            "lengths": lengths,
            "weight_scale": weight_scale,
            "largest": largest,
            "total": total,
        }
        fields = {**options, **sequence.rows(**rows), **sequence.arrays(**arrays)}
        sequence.run("attend", fields)
        ctx.save_for_backward(qk, v, out, mask, *arrays.values())
        ctx.options, ctx.names = options, list(arrays)
        return out.to(v.dtype)

    @staticmethod
    @once_differentiable
    @custom_bwd(device_type="cpu")
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, grad: Tensor
    ) -> tuple[Tensor | None, ...]:
        qk, v, out, mask, *kept = ctx.saved_tensors
        arrays = dict(zip(ctx.names, kept, strict=True))
        q, values, grad = (sequence.with_rows(at_least_float32(item)) for item in (qk, v, grad))
        dqk, dv = _rows_like(q), _rows_like(values)
        if mask is not None:
            dqk.zero_()
            dv.zero_()
        rows = {"qk": q, "v": values, "out": out, "dout": grad, "dqk": dqk, "dv": dv}
        fields = {**ctx.options, **sequence.rows(**rows), **sequence.arrays(**arrays)}
        sequence.run("attend_backward", fields)
        return dqk.to(qk.dtype), dv.to(v.dtype), None, None, None, None


def _sort(buckets: Tensor, mask: Tensor | None) -> Tensor:
    """The real positions in the order of (bucket, time), then anything, [B, H, R, L], int32."""
    order = torch.empty(buckets.shape, dtype=torch.int32)
    buckets = buckets.long().contiguous()
    fields = {
        "n_rows": math.prod(buckets.shape[:3]),
        "rows_a_batch": buckets.shape[1] * buckets.shape[2],
        "length": buckets.shape[3],
        **sequence.arrays(
            buckets=buckets, mask=None if mask is None else mask.contiguous(), order=order
        ),
    }
    sequence.run("sort_by_bucket", fields)
    return order


def _rows_like(x: Tensor) -> Tensor:
    """An empty tensor [B, H, L, K] whose heads lie side by side, as layers want to join them."""
    shape = (x.shape[0], x.shape[2], x.shape[1], x.shape[3])
    return huge_page.empty_like(x, shape).transpose(1, 2)
