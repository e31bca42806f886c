"""The last kernel of each direction: every block from the cell before it, to cells or gradients."""

# pyright: reportOperatorIssue=false, reportGeneralTypeIssues=false
# Its types are those of calls from Python, where a kernel returns nothing.

from __future__ import annotations

import triton
import triton.language as tl

from kernels.sru_scan.triton_scan import load_carry, load_steps, scan_tile


@triton.jit
def sru_scan_fwd_kernel(
    x,
    f,
    start,
    ends,
    cells,
    last,
    length,
    width,
    n_tiles,
    x_b,
    x_l,
    f_b,
    f_l,
    block_t: tl.constexpr,
    block_d: tl.constexpr,
    accumulator: tl.constexpr,
):
    """Writes all cells [B, L, D] and the last one [B, D]."""
    batch = tl.program_id(2).to(tl.int64)
    column = tl.program_id(1) * block_d + tl.arange(0, block_d)
    carry = load_carry(start, ends, batch, column, width, accumulator)
    for tile in range(n_tiles):
        step = (tl.program_id(0) * n_tiles + tile) * block_t + tl.arange(0, block_t)
        a, b, time, inside = load_steps(
            x + batch * x_b,
            f + batch * f_b,
            step,
            length,
            column,
            width,
            x_l,
            f_l,
            False,
            accumulator,
        )
        found, carry = scan_tile(a, b, carry, block_t)
        at = (batch * length + time)[:, None] * width + column[None, :]
        tl.store(cells + at, found.to(cells.dtype.element_ty), mask=inside)
    is_last = tl.program_id(0) == tl.num_programs(0) - 1
    tl.store(last + batch * width + column, carry, mask=(column < width) & is_last)


@triton.jit
def sru_scan_bwd_kernel(
    grad,
    x,
    f,
    cells,
    c0,
    start,
    ends,
    dx,
    df,
    dc0,
    length,
    width,
    n_tiles,
    grad_b,
    grad_l,
    x_b,
    x_l,
    f_b,
    f_l,
    block_t: tl.constexpr,
    block_d: tl.constexpr,
    accumulator: tl.constexpr,
):
    """Writes dx and df [B, L, D] and dc0 [B, D]; `start` is the gradient of the last cell."""
    batch = tl.program_id(2).to(tl.int64)
    column = tl.program_id(1) * block_d + tl.arange(0, block_d)
    f += batch * f_b
    x += batch * x_b
    carry = load_carry(start, ends, batch, column, width, accumulator)
    first = tl.load(c0 + batch * width + column, mask=column < width, other=0.0).to(accumulator)
    for tile in range(n_tiles):
        step = (tl.program_id(0) * n_tiles + tile) * block_t + tl.arange(0, block_t)
        a, b, time, inside = load_steps(
            grad + batch * grad_b, f, step, length, column, width, grad_l, f_l, True, accumulator
        )
        total, carry = scan_tile(a, b, carry, block_t)
        far = time.to(tl.int64)[:, None]
        gate = tl.load(f + far * f_l + column[None, :], mask=inside, other=1.0).to(accumulator)
        value = tl.load(x + far * x_l + column[None, :], mask=inside, other=0.0).to(accumulator)
        at = (batch * length + time)[:, None] * width + column[None, :]
        has_before = inside & (time > 0)[:, None]
        before = tl.load(cells + at - width, mask=has_before, other=0.0).to(accumulator)
        before = tl.where((time == 0)[:, None], first[None, :], before)
        tl.store(dx + at, (total * (1.0 - gate)).to(dx.dtype.element_ty), mask=inside)
        tl.store(df + at, (total * (before - value)).to(df.dtype.element_ty), mask=inside)
    is_last = tl.program_id(0) == tl.num_programs(0) - 1
    mask = (column < width) & is_last
    gate = tl.load(f + column, mask=mask, other=0.0).to(accumulator)
    tl.store(dc0 + batch * width + column, carry * gate, mask=mask)
