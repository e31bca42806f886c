"""The kernels of the SRU recurrence: blocks of time side by side, joined by their ends.

A step is c → a * c + b. Each program goes through tiles of `block_t` steps, which a parallel scan
joins; only products of forget gates are formed, never quotients. Backwards the same recurrence runs
with time turned round: step s stands at time L - 1 - s, and its gate is that of the time after.
"""

# pyright: reportOperatorIssue=false, reportGeneralTypeIssues=false
# Its types are those of calls from Python, where a kernel returns nothing.

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def join_steps(a1, b1, a2, b2):
    """The step (a1, b1) and then (a2, b2), as one step."""
    return a1 * a2, a2 * b1 + b2


@triton.jit
def scan_tile(a, b, carry, block_t: tl.constexpr):
    """All states [block_t, D] after the steps a, b from a carry [D], and the last one."""
    decay, local = tl.associative_scan((a, b), 0, join_steps)
    states = decay * carry[None, :] + local
    is_last = tl.arange(0, block_t) == block_t - 1
    return states, tl.sum(tl.where(is_last[:, None], states, 0.0), axis=0)


@triton.jit
def load_steps(
    x,
    f,
    step,
    length,
    column,
    width,
    x_l,
    f_l,
    backwards: tl.constexpr,
    accumulator: tl.constexpr,
):
    """Coefficients a and b [T, D] of steps [T], their times, and what is inside; others keep c.

    Backwards x holds the gradients of cells.
    """
    inside = (step < length)[:, None] & (column < width)[None, :]
    time = step
    gate_time = step
    if backwards:
        time = length - 1 - step
        gate_time = length - step
    gated = inside & (gate_time < length)[:, None]  # the last cell begins as its own gradient
    gates = f + gate_time.to(tl.int64)[:, None] * f_l + column[None, :]
    values = x + time.to(tl.int64)[:, None] * x_l + column[None, :]
    a = tl.load(gates, mask=gated, other=1.0).to(accumulator)
    b = tl.load(values, mask=inside, other=0.0).to(accumulator)
    if not backwards:
        b = (1.0 - a) * b
    return a, b, time, inside


@triton.jit
def sru_scan_block_kernel(
    x,
    f,
    decays,
    ends,
    length,
    width,
    n_tiles,
    x_b,
    x_l,
    f_b,
    f_l,
    backwards: tl.constexpr,
    block_t: tl.constexpr,
    block_d: tl.constexpr,
    accumulator: tl.constexpr,
):
    """What each block does to a cell: decays and ends [B, n, D], for c → decay * c + end."""
    batch = tl.program_id(2).to(tl.int64)
    column = tl.program_id(1) * block_d + tl.arange(0, block_d)
    decay = tl.full([block_d], 1.0, accumulator)
    end = tl.zeros([block_d], accumulator)
    is_last = tl.arange(0, block_t) == block_t - 1
    for tile in range(n_tiles):
        step = (tl.program_id(0) * n_tiles + tile) * block_t + tl.arange(0, block_t)
        a, b, _, _ = load_steps(
            x + batch * x_b,
            f + batch * f_b,
            step,
            length,
            column,
            width,
            x_l,
            f_l,
            backwards,
            accumulator,
        )
        a, b = tl.associative_scan((a, b), 0, join_steps)
        whole_a = tl.sum(tl.where(is_last[:, None], a, 0.0), axis=0)
        whole_b = tl.sum(tl.where(is_last[:, None], b, 0.0), axis=0)
        decay, end = join_steps(decay, end, whole_a, whole_b)
    at = (batch * tl.num_programs(0) + tl.program_id(0)) * width + column
    tl.store(decays + at, decay, mask=column < width)
    tl.store(ends + at, end, mask=column < width)


@triton.jit
def sru_scan_carry_kernel(
    decays,
    ends,
    start,
    n_blocks,
    width,
    block_t: tl.constexpr,
    block_d: tl.constexpr,
    accumulator: tl.constexpr,
):
    """Turns ends [B, n, D] into the cells after each block, from start [B, D]."""
    batch = tl.program_id(1).to(tl.int64)
    column = tl.program_id(0) * block_d + tl.arange(0, block_d)
    carry = tl.load(start + batch * width + column, mask=column < width, other=0.0)
    carry = carry.to(accumulator)
    for first in range(0, n_blocks, block_t):
        block = first + tl.arange(0, block_t)
        inside = (block < n_blocks)[:, None] & (column < width)[None, :]
        at = (batch * n_blocks + block)[:, None] * width + column[None, :]
        a = tl.load(decays + at, mask=inside, other=1.0)
        b = tl.load(ends + at, mask=inside, other=0.0)
        cells, carry = scan_tile(a, b, carry, block_t)
        tl.store(ends + at, cells, mask=inside)


@triton.jit
def load_carry(start, ends, batch, column, width, accumulator: tl.constexpr):
    """The cell [D] before a block: the start, or the end of the block before."""
    block = tl.program_id(0)
    at_start = start + batch * width + column
    at_end = ends + (batch * tl.num_programs(0) + block - 1) * width + column
    inside = column < width
    first = tl.load(at_start, mask=inside & (block == 0), other=0.0).to(accumulator)
    return first + tl.load(at_end, mask=inside & (block > 0), other=0.0).to(accumulator)
