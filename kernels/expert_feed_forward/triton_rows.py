"""The kernels that map rows by their experts' weights, and find which weights these are.

Rows are sorted by expert. A tile of rows belongs to one expert, the last of an expert may be
shorter; a program learns from the experts' numbers of rows which tile it has, so that nobody waits
for these numbers but the device.
"""

# pyright: reportOperatorIssue=false, reportGeneralTypeIssues=false
# Its types are those of calls from Python, where a kernel returns nothing.

from __future__ import annotations

import triton
import triton.language as tl

from kernels.multiplicative.triton_product import load_tile


@triton.jit
def find_tile(n_rows, tile, n_experts: tl.constexpr, block_e: tl.constexpr, block_m: tl.constexpr):
    """Expert of a tile, n_experts or more if there is none; its first row, the expert's end."""
    expert = tl.arange(0, block_e)
    counts = tl.load(n_rows + expert, mask=expert < n_experts, other=0)
    tiles = (counts + block_m - 1) // block_m
    found = tl.sum((tl.cumsum(tiles, axis=0) <= tile).to(tl.int32), axis=0)
    first = tl.sum(tl.where(expert < found, counts, 0), axis=0)
    first_tile = tl.sum(tl.where(expert < found, tiles, 0), axis=0)
    end = first + tl.sum(tl.where(expert == found, counts, 0), axis=0)
    return found, first + (tile - first_tile) * block_m, end


@triton.jit
def expert_tile(
    rows,
    weight,
    row,
    real,
    column,
    d_in: tl.constexpr,
    d_out: tl.constexpr,
    transposed: tl.constexpr,
    block_m: tl.constexpr,
    block_n: tl.constexpr,
    block_k: tl.constexpr,
    operand: tl.constexpr,
    accumulator: tl.constexpr,
    precision: tl.constexpr,
):
    """Products [block_m, block_n] of rows [N, d_in] and a weight [d_out, d_in] at columns of it.

    A transposed weight is [d_in, d_out].
    """
    product = tl.zeros([block_m, block_n], accumulator)
    for first in range(0, d_in, block_k):
        inner = first + tl.arange(0, block_k)
        values = load_tile(rows, row, d_in, real, inner, d_in)
        if transposed:
            weights = load_tile(weight, inner, d_out, inner < d_in, column, d_out).to(operand)
        else:
            weights = load_tile(weight, column, d_in, column < d_out, inner, d_in).to(operand)
            weights = tl.trans(weights)
        product = tl.dot(
            values.to(operand),
            weights,
            product,
            input_precision=precision,
            out_dtype=accumulator,
        )
    return product


@triton.jit
def expert_feed_forward_fwd_kernel(
    rows,
    n_rows,
    weight,
    bias,
    kept,
    out,
    factor: tl.constexpr,
    n_experts: tl.constexpr,
    d_in: tl.constexpr,
    d_out: tl.constexpr,
    relu: tl.constexpr,
    has_kept: tl.constexpr,
    block_e: tl.constexpr,
    block_m: tl.constexpr,
    block_n: tl.constexpr,
    block_k: tl.constexpr,
    operand: tl.constexpr,
    accumulator: tl.constexpr,
    precision: tl.constexpr,
):
    """Outputs of one tile of rows after one dense layer of its expert, ReLU and dropout."""
    expert, first, end = find_tile(n_rows, tl.program_id(0), n_experts, block_e, block_m)
    if expert < n_experts:
        row = first + tl.arange(0, block_m)
        column = tl.program_id(1) * block_n + tl.arange(0, block_n)
        real = row < end
        inside = real[:, None] & (column < d_out)[None, :]
        at = row[:, None] * d_out + column[None, :]
        far = expert.to(tl.int64)
        product = expert_tile(
            rows,
            weight + far * d_out * d_in,
            row,
            real,
            column,
            d_in,
            d_out,
            False,
            block_m,
            block_n,
            block_k,
            operand,
            accumulator,
            precision,
        )
        added = tl.load(bias + far * d_out + column, mask=column < d_out, other=0.0)
        product += added.to(accumulator)[None, :]
        if relu:
            product = tl.maximum(product, 0.0)
        if has_kept:
            is_kept = tl.load(kept + at, mask=inside, other=0) != 0
            product = tl.where(is_kept, product * factor, 0.0)
        tl.store(out + at, product.to(out.dtype.element_ty), mask=inside)


@triton.jit
def expert_feed_forward_dx_kernel(
    grad,
    n_rows,
    weight,
    units,
    dx,
    factor: tl.constexpr,
    n_experts: tl.constexpr,
    d_in: tl.constexpr,
    d_out: tl.constexpr,
    has_units: tl.constexpr,
    block_e: tl.constexpr,
    block_m: tl.constexpr,
    block_n: tl.constexpr,
    block_k: tl.constexpr,
    operand: tl.constexpr,
    accumulator: tl.constexpr,
    precision: tl.constexpr,
):
    """Gradients [N, d_out] of a dense layer's inputs from those of its outputs [N, d_in].

    With units, these inputs: only what ReLU and dropout passed has a gradient, times the factor.
    """
    expert, first, end = find_tile(n_rows, tl.program_id(0), n_experts, block_e, block_m)
    if expert < n_experts:
        row = first + tl.arange(0, block_m)
        column = tl.program_id(1) * block_n + tl.arange(0, block_n)
        real = row < end
        inside = real[:, None] & (column < d_out)[None, :]
        at = row[:, None] * d_out + column[None, :]
        product = expert_tile(
            grad,
            weight + expert.to(tl.int64) * d_out * d_in,
            row,
            real,
            column,
            d_in,
            d_out,
            True,
            block_m,
            block_n,
            block_k,
            operand,
            accumulator,
            precision,
        )
        if has_units:
            passed = tl.load(units + at, mask=inside, other=0.0) > 0
            product = tl.where(passed, product * factor, 0.0)
        tl.store(dx + at, product.to(dx.dtype.element_ty), mask=inside)
