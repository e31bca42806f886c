# pyright: reportOperatorIssue=false, reportGeneralTypeIssues=false
# Its types are those of calls from Python, where a kernel returns nothing.
"""The kernels of a decoding step: rows of kept units are gathered, and no others are read."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def sparse_feed_forward_units_kernel(
    x,
    logits,
    w1,
    rows,
    units,
    n_blocks,
    n_units: tl.constexpr,
    width: tl.constexpr,
    multiply: tl.constexpr,
    block_g: tl.constexpr,
    block_n: tl.constexpr,
    block_d: tl.constexpr,
    accumulator: tl.constexpr,
):
    """Chooses the unit of `block_g` blocks of a token: its row of the weights, and its value."""
    token = tl.program_id(1).to(tl.int64)
    block = tl.program_id(0) * block_g + tl.arange(0, block_g)
    unit = tl.arange(0, block_n)
    real = block < n_blocks
    inside = real[:, None] & (unit < n_units)[None, :]
    at = (token * n_blocks + block)[:, None] * n_units + unit[None, :]
    wide = tl.load(logits + at, mask=inside, other=-float("inf")).to(accumulator)
    wide = tl.where(real[:, None], wide, 0.0)
    row = block * n_units + tl.argmax(wide, axis=1)
    value = tl.zeros([block_g], accumulator)
    for first in range(0, width, block_d):
        column = first + tl.arange(0, block_d)
        part = tl.load(x + token * width + column, mask=column < width, other=0.0).to(accumulator)
        weights = tl.load(
            w1 + row.to(tl.int64)[:, None] * width + column[None, :],
            mask=real[:, None] & (column < width)[None, :],
            other=0.0,
        ).to(accumulator)
        value += tl.sum(weights * part[None, :], axis=1)
    value = tl.maximum(value, 0.0)
    if multiply:
        value /= tl.sum(tl.exp(wide - tl.max(wide, axis=1)[:, None]), axis=1)
    tl.store(rows + token * n_blocks + block, row, mask=real)
    tl.store(units + token * n_blocks + block, value, mask=real)


@triton.jit
def sparse_feed_forward_out_kernel(
    rows,
    units,
    w2,
    b2,
    out,
    n_blocks,
    width: tl.constexpr,
    block_g: tl.constexpr,
    block_d: tl.constexpr,
    accumulator: tl.constexpr,
):
    """Sums the second rows of a token's units; those of units that are zero are not read."""
    token = tl.program_id(1).to(tl.int64)
    column = tl.program_id(0) * block_d + tl.arange(0, block_d)
    total = tl.load(b2 + column, mask=column < width, other=0.0).to(accumulator)
    for first in range(0, n_blocks, block_g):
        block = first + tl.arange(0, block_g)
        real = block < n_blocks
        row = tl.load(rows + token * n_blocks + block, mask=real, other=0)
        value = tl.load(units + token * n_blocks + block, mask=real, other=0.0)
        weights = tl.load(
            w2 + row.to(tl.int64)[:, None] * width + column[None, :],
            mask=(value > 0)[:, None] & (column < width)[None, :],
            other=0.0,
        ).to(accumulator)
        total += tl.sum(weights * value[:, None], axis=0)
    tl.store(out + token * width + column, total.to(out.dtype.element_ty), mask=column < width)
