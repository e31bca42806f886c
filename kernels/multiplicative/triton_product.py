"""The kernels of the multiplicative layer: the gate joins a tile on its way to the product.

Rows are [T, D], outputs [T, S * M]. Neither the gated rows, [T, S, D], nor the gated projection,
[S * M, D], ever stands in memory.
"""

# pyright: reportOperatorIssue=false, reportGeneralTypeIssues=false
# Its types are those of calls from Python, where a kernel returns nothing.

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def load_tile(rows, row, stride, is_row, column, width: tl.constexpr):
    """Rows [M] at columns [K], [M, K]: zeros where there are none; `row` counts in 64 bits."""
    inside = is_row[:, None] & (column < width)[None, :]
    return tl.load(rows + row[:, None] * stride + column[None, :], mask=inside, other=0.0)


@triton.jit
def multiplicative_tile(
    x,
    projection,
    gate,
    bias,
    row,
    real,
    x_t,
    tile,
    width: tl.constexpr,
    d_module: tl.constexpr,
    has_gate: tl.constexpr,
    has_bias: tl.constexpr,
    block_m: tl.constexpr,
    block_n: tl.constexpr,
    block_k: tl.constexpr,
    operand: tl.constexpr,
    accumulator: tl.constexpr,
    precision: tl.constexpr,
):
    """One tile of the outputs of rows of x, [block_m, block_n], its columns, and which are real.

    No tile reaches from one module into the next: the last one of a module may be narrower.
    """
    tiles_n: tl.constexpr = (d_module + block_n - 1) // block_n
    module = tile // tiles_n
    place = (tile % tiles_n) * block_n + tl.arange(0, block_n)
    is_place = place < d_module
    product = tl.zeros([block_m, block_n], accumulator)
    for first in range(0, width, block_k):
        column = first + tl.arange(0, block_k)
        values = load_tile(x, row, x_t, real, column, width)
        if has_gate:
            factors = tl.load(gate + module * width + column, mask=column < width, other=0.0)
            values = values.to(accumulator) * factors.to(accumulator)[None, :]
        weights = load_tile(projection, place.to(tl.int64), width, is_place, column, width)
        product = tl.dot(
            values.to(operand),
            tl.trans(weights.to(operand)),
            product,
            input_precision=precision,
            out_dtype=accumulator,
        )
    output = module * d_module + place
    if has_bias:
        product += tl.load(bias + output, mask=is_place, other=0.0).to(accumulator)[None, :]
    return product, output, is_place


@triton.jit
def multiplicative_fwd_kernel(
    x,
    projection,
    gate,
    bias,
    out,
    n_rows,
    x_t,
    width: tl.constexpr,
    d_module: tl.constexpr,
    n_modules: tl.constexpr,
    has_gate: tl.constexpr,
    has_bias: tl.constexpr,
    block_m: tl.constexpr,
    block_n: tl.constexpr,
    block_k: tl.constexpr,
    operand: tl.constexpr,
    accumulator: tl.constexpr,
    precision: tl.constexpr,
):
    """Writes one tile of the outputs [T, S * M]."""
    row = tl.program_id(0).to(tl.int64) * block_m + tl.arange(0, block_m)
    real = row < n_rows
    values, column, is_column = multiplicative_tile(
        x,
        projection,
        gate,
        bias,
        row,
        real,
        x_t,
        tl.program_id(1),
        width,
        d_module,
        has_gate,
        has_bias,
        block_m,
        block_n,
        block_k,
        operand,
        accumulator,
        precision,
    )
    at = out + row[:, None] * (n_modules * d_module) + column[None, :]
    tl.store(at, values.to(out.dtype.element_ty), mask=real[:, None] & is_column[None, :])


@triton.jit
def multiplicative_dx_kernel(
    grad,
    projection,
    gate,
    scale,
    dx,
    n_rows,
    width: tl.constexpr,
    d_module: tl.constexpr,
    n_modules: tl.constexpr,
    has_gate: tl.constexpr,
    has_scale: tl.constexpr,
    block_m: tl.constexpr,
    block_n: tl.constexpr,
    block_k: tl.constexpr,
    operand: tl.constexpr,
    accumulator: tl.constexpr,
    precision: tl.constexpr,
):
    """Gradients of rows [T, D] from those of outputs [T, S * M], times a scale [1] if there is."""
    row = tl.program_id(0).to(tl.int64) * block_m + tl.arange(0, block_m)
    column = tl.program_id(1) * block_n + tl.arange(0, block_n)
    real = row < n_rows
    total = tl.zeros([block_m, block_n], accumulator)
    for module in range(n_modules):
        part = tl.zeros([block_m, block_n], accumulator)
        for first in range(0, d_module, block_k):
            place = first + tl.arange(0, block_k)
            grads = load_tile(
                grad + module * d_module, row, n_modules * d_module, real, place, d_module
            )
            weights = load_tile(
                projection, place.to(tl.int64), width, place < d_module, column, width
            )
            part = tl.dot(
                grads.to(operand),
                weights.to(operand),
                part,
                input_precision=precision,
                out_dtype=accumulator,
            )
        if has_gate:
            factors = tl.load(gate + module * width + column, mask=column < width, other=0.0)
            part *= factors.to(accumulator)[None, :]
        total += part
    if has_scale:
        total *= tl.load(scale).to(accumulator)
    inside = real[:, None] & (column < width)[None, :]
    at = dx + row[:, None] * width + column[None, :]
    tl.store(at, total.to(dx.dtype.element_ty), mask=inside)


@triton.jit
def multiplicative_dw_kernel(
    grad,
    x,
    projection,
    gate,
    dprojection,
    dgate,
    n_rows,
    x_t,
    width: tl.constexpr,
    d_module: tl.constexpr,
    n_modules: tl.constexpr,
    has_gate: tl.constexpr,
    block_m: tl.constexpr,
    block_n: tl.constexpr,
    block_k: tl.constexpr,
    operand: tl.constexpr,
    accumulator: tl.constexpr,
    precision: tl.constexpr,
):
    """Adds to dprojection [M, D], and to each block of places' share of dgate [n, S, D]."""
    place = tl.program_id(0) * block_m + tl.arange(0, block_m)
    column = tl.program_id(1) * block_n + tl.arange(0, block_n)
    inside = (place < d_module)[:, None] & (column < width)[None, :]
    at = place.to(tl.int64)[:, None] * width + column[None, :]
    total = tl.zeros([block_m, block_n], accumulator)
    for module in range(n_modules):
        part = tl.zeros([block_m, block_n], accumulator)
        for first in range(0, n_rows, block_k):
            row = first + tl.arange(0, block_k).to(tl.int64)
            real = row < n_rows
            grads = load_tile(
                grad + module * d_module, row, n_modules * d_module, real, place, d_module
            )
            values = load_tile(x, row, x_t, real, column, width)
            part = tl.dot(
                tl.trans(grads.to(operand)),
                values.to(operand),
                part,
                input_precision=precision,
                out_dtype=accumulator,
            )
        if has_gate:
            share = dgate + (tl.program_id(0) * n_modules + module) * width + column
            found = tl.load(share, mask=column < width, other=0.0)
            weights = tl.load(projection + at, mask=inside, other=0.0).to(accumulator)
            tl.store(share, found + tl.sum(part * weights, axis=0), mask=column < width)
            factors = tl.load(gate + module * width + column, mask=column < width, other=0.0)
            part *= factors.to(accumulator)[None, :]
        total += part
    total += tl.load(dprojection + at, mask=inside, other=0.0)
    tl.store(dprojection + at, total, mask=inside)
