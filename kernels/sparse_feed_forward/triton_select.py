# pyright: reportOperatorIssue=false, reportGeneralTypeIssues=false
# pyright: reportUnboundVariable=false, reportAttributeAccessIssue=false
# Its types are those of calls from Python, where a kernel returns nothing; branches are chosen when
# a kernel is compiled.
"""What stands between the two matrix products of the sparse feed-forward, in one pass each way.

A row is one block of N units of one token: values [M, N] are [T * G, N].
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _softmax(logits):
    """Of rows [M, N] in float32 or wider."""
    powers = tl.exp(logits - tl.max(logits, axis=1)[:, None])
    return powers / tl.sum(powers, axis=1)[:, None]


@triton.jit
def sparse_feed_forward_fwd_kernel(
    units,
    logits,
    choice,
    kept,
    n_rows,
    n_units: tl.constexpr,
    is_soft: tl.constexpr,
    multiply: tl.constexpr,
    choose: tl.constexpr,
    block_m: tl.constexpr,
    block_n: tl.constexpr,
    accumulator: tl.constexpr,
):
    """Turns units into active ones in their place; notes each block's choice and what it keeps.

    With `choose` the choice is the first unit of highest logit, and is written, not read.
    """
    row = tl.program_id(0).to(tl.int64) * block_m + tl.arange(0, block_m)
    unit = tl.arange(0, block_n)
    real = row < n_rows
    inside = real[:, None] & (unit < n_units)[None, :]
    at = row[:, None] * n_units + unit[None, :]
    value = tl.maximum(tl.load(units + at, mask=inside, other=0.0).to(accumulator), 0.0)
    if is_soft or multiply or choose:
        wide = tl.load(logits + at, mask=inside, other=-float("inf")).to(accumulator)
        wide = tl.where(real[:, None], wide, 0.0)
    if is_soft:
        value *= _softmax(wide)
    else:
        if choose:
            chosen = tl.argmax(wide, axis=1)
            tl.store(choice + row, chosen.to(choice.dtype.element_ty), mask=real)
        else:
            chosen = tl.load(choice + row, mask=real, other=0).to(tl.int32)
        value = tl.where(unit[None, :] == chosen[:, None], value, 0.0)
        tl.store(kept + row, tl.sum(value, axis=1).to(kept.dtype.element_ty), mask=real)
        if multiply:
            value *= _softmax(wide)
    tl.store(units + at, value.to(units.dtype.element_ty), mask=inside)


@triton.jit
def sparse_feed_forward_bwd_kernel(
    grad,
    logits,
    choice,
    kept,
    active,
    dlogits,
    n_rows,
    n_units: tl.constexpr,
    is_soft: tl.constexpr,
    straight_through: tl.constexpr,
    multiply: tl.constexpr,
    block_m: tl.constexpr,
    block_n: tl.constexpr,
    accumulator: tl.constexpr,
):
    """Turns gradients of active units into those of all units, in their place; writes dlogits.

    `active` is read with `is_soft`; else it is made anew, from what each block kept.
    """
    row = tl.program_id(0).to(tl.int64) * block_m + tl.arange(0, block_m)
    unit = tl.arange(0, block_n)
    real = row < n_rows
    inside = real[:, None] & (unit < n_units)[None, :]
    at = row[:, None] * n_units + unit[None, :]
    g = tl.load(grad + at, mask=inside, other=0.0).to(accumulator)
    if is_soft or multiply or straight_through:
        wide = tl.load(logits + at, mask=inside, other=-float("inf")).to(accumulator)
        soft = _softmax(tl.where(real[:, None], wide, 0.0))
    if is_soft:
        value = tl.load(active + at, mask=inside, other=0.0).to(accumulator)
        along = value * g
        dlogit = along - soft * tl.sum(along, axis=1)[:, None]
        g = tl.where(value > 0, g * soft, 0.0)
    else:
        chosen = tl.load(choice + row, mask=real, other=0).to(tl.int32)
        is_chosen = unit[None, :] == chosen[:, None]
        value = tl.load(kept + row, mask=real, other=0.0).to(accumulator)[:, None]
        g = tl.where(is_chosen & (value > 0), g, 0.0)
        scaled = tl.where(is_chosen, value, 0.0)
        if multiply:
            g *= soft
            scaled *= soft
        tl.store(active + at, scaled.to(active.dtype.element_ty), mask=inside)
        if multiply or straight_through:
            along = g * value
            if straight_through:  # else it holds the share already
                along *= soft
            dlogit = along - soft * tl.sum(along, axis=1)[:, None]
    if is_soft or multiply or straight_through:
        tl.store(dlogits + at, dlogit.to(dlogits.dtype.element_ty), mask=inside)
    tl.store(grad + at, g.to(grad.dtype.element_ty), mask=inside)
