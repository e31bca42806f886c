"""What the Triton kernels of LSH attention share: rows gathered by position, and their scores."""

from __future__ import annotations

import triton
import triton.language as tl

LOG2_E = tl.constexpr(1.4426950408889634)
LONELY = tl.constexpr(-131072.0)  # base-2 score of a position and itself: exact in float32
UNREACHABLE = tl.constexpr(-1.0e30)  # finite, so that differences of two are numbers


@triton.jit
def load_rows(rows, time, stride, real, width: tl.constexpr, block: tl.constexpr):
    """Rows at positions `time` [M], [M, block]: zeros where not real and beyond the width."""
    column = tl.arange(0, block)
    pointers = rows + time.to(tl.int64)[:, None] * stride + column[None, :]
    if block == width:
        return tl.load(pointers, mask=real[:, None], other=0.0)
    return tl.load(pointers, mask=real[:, None] & (column < width)[None, :], other=0.0)


@triton.jit
def store_rows(rows, time, stride, stored, values, width: tl.constexpr, block: tl.constexpr):
    """Writes values [M, block] to the rows at positions `time` [M] that are to be stored."""
    column = tl.arange(0, block)
    pointers = rows + time.to(tl.int64)[:, None] * stride + column[None, :]
    values = values.to(rows.dtype.element_ty)
    tl.store(pointers, values, mask=stored[:, None] & (column < width)[None, :])


@triton.jit
def load_places(order, index, real_length, in_chunk):
    """Positions at places `index` of the sorted order, and which of them are real."""
    real = in_chunk & (index < real_length)
    return tl.load(order + index, mask=real, other=0), real


@triton.jit
def mask_scores(scores, time_q, time_k, reachable, causal: tl.constexpr):
    """Base-2 scores where a position meets itself or what it may not see; which meet themselves.

    Times and `reachable` are shaped so that they broadcast to the scores.
    """
    itself = time_q == time_k
    scores = tl.where(itself, LONELY, scores)
    if causal:
        reachable = reachable & (time_k <= time_q)
    return tl.where(reachable, scores, UNREACHABLE), itself


@triton.jit
def row_dot_kernel(
    x,
    y,
    out,
    n_heads,
    length,
    x_b,
    x_h,
    x_l,
    y_b,
    y_h,
    y_l,
    width: tl.constexpr,
    block: tl.constexpr,
    block_m: tl.constexpr,
    accumulator: tl.constexpr,
    epsilon: tl.constexpr,
):
    """Products of the rows of x and y [B, H, L, width], summed, [B, H, L].

    With an epsilon and y = x: what scales these rows to unit length.
    """
    pair = tl.program_id(1).to(tl.int64)
    b, h = pair // n_heads, pair % n_heads
    time = tl.program_id(0) * block_m + tl.arange(0, block_m)
    real = time < length
    x_rows = load_rows(x + b * x_b + h * x_h, time, x_l, real, width, block).to(accumulator)
    y_rows = load_rows(y + b * y_b + h * y_h, time, y_l, real, width, block).to(accumulator)
    total = tl.sum(x_rows * y_rows, axis=1)
    if epsilon > 0:
        total = tl.rsqrt((total / width + epsilon) * width)
    tl.store(out + pair * length + time, total, mask=real)
