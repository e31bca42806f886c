"""The backward kernels of the convolutions: to their common input, and to their weights."""

# pyright: reportOperatorIssue=false, reportGeneralTypeIssues=false
# Its types are those of calls from Python, where a kernel returns nothing.

from __future__ import annotations

import triton
import triton.language as tl

from kernels.multiplicative.triton_product import load_tile


@triton.jit
def convolutional_qkv_dx_kernel(
    dq,
    dk,
    dv,
    w_q,
    w_k,
    w_v,
    dmixed,
    n_rows,
    length,
    n_modules: tl.constexpr,
    d_module: tl.constexpr,
    n_back: tl.constexpr,
    n_around: tl.constexpr,
    has_k: tl.constexpr,
    block_m: tl.constexpr,
    block_n: tl.constexpr,
    block_k: tl.constexpr,
    operand: tl.constexpr,
    accumulator: tl.constexpr,
    precision: tl.constexpr,
):
    """Gradients of one module of a block of rows: each tap the other way round, all summed."""
    width: tl.constexpr = n_modules * d_module
    n_taps: tl.constexpr = n_back * n_around
    n_steps: tl.constexpr = (d_module + block_k - 1) // block_k
    row = tl.program_id(0).to(tl.int64) * block_m + tl.arange(0, block_m)
    module = tl.program_id(1)
    column = tl.program_id(2) * block_n + tl.arange(0, block_n)
    real = row < n_rows
    time = row % length
    total = tl.zeros([block_m, block_n], accumulator)
    for step in range(n_taps * n_steps):
        tap = step // n_steps
        inner = (step % n_steps) * block_k + tl.arange(0, block_k)
        is_inner = inner < d_module
        ahead = n_back - 1 - tap // n_around
        near = module - tap % n_around + n_around // 2
        seen = real & (time + ahead < length) & (near >= 0) & (near < n_modules)
        grads = load_tile(dq + near * d_module, row + ahead, width, seen, inner, d_module)
        weights = load_tile(
            w_q + tap * d_module, inner, n_taps * d_module, is_inner, column, d_module
        )
        total = tl.dot(
            grads.to(operand),
            weights.to(operand),
            total,
            input_precision=precision,
            out_dtype=accumulator,
        )
        if has_k:
            grads = load_tile(dk + near * d_module, row + ahead, width, seen, inner, d_module)
            weights = load_tile(
                w_k + tap * d_module, inner, n_taps * d_module, is_inner, column, d_module
            )
            total = tl.dot(
                grads.to(operand),
                weights.to(operand),
                total,
                input_precision=precision,
                out_dtype=accumulator,
            )
    for step in range(n_back * n_steps):
        tap = step // n_steps
        inner = (step % n_steps) * block_k + tl.arange(0, block_k)
        ahead = n_back - 1 - tap
        seen = real & (time + ahead < length)
        grads = load_tile(dv + module * d_module, row + ahead, width, seen, inner, d_module)
        weights = load_tile(
            w_v + tap * d_module, inner, n_back * d_module, inner < d_module, column, d_module
        )
        total = tl.dot(
            grads.to(operand),
            weights.to(operand),
            total,
            input_precision=precision,
            out_dtype=accumulator,
        )
    at = dmixed + row[:, None] * width + (module * d_module + column)[None, :]
    inside = real[:, None] & (column < d_module)[None, :]
    tl.store(at, total.to(dmixed.dtype.element_ty), mask=inside)


@triton.jit
def convolutional_qkv_dw_kernel(
    grad,
    mixed,
    dweight,
    n_rows,
    length,
    n_part_rows,
    n_modules: tl.constexpr,
    d_module: tl.constexpr,
    n_back: tl.constexpr,
    n_around: tl.constexpr,
    block_m: tl.constexpr,
    block_n: tl.constexpr,
    block_k: tl.constexpr,
    operand: tl.constexpr,
    accumulator: tl.constexpr,
    precision: tl.constexpr,
):
    """One part of the rows' share of one tap's gradient: dweight [n, M, taps, M]."""
    width: tl.constexpr = n_modules * d_module
    n_taps: tl.constexpr = n_back * n_around
    tiles_n: tl.constexpr = (d_module + block_n - 1) // block_n
    part = tl.program_id(0)
    tap = tl.program_id(1)
    back = n_back - 1 - tap // n_around
    side = tap % n_around - n_around // 2
    out = (tl.program_id(2) // tiles_n) * block_m + tl.arange(0, block_m)
    column = (tl.program_id(2) % tiles_n) * block_n + tl.arange(0, block_n)
    first = part.to(tl.int64) * n_part_rows
    n_own = tl.minimum(n_rows - first, n_part_rows)
    n_steps = (n_own + block_k - 1) // block_k
    total = tl.zeros([block_m, block_n], accumulator)
    for step in range(n_modules * n_steps):
        module = step // n_steps
        near = (step % n_steps) * block_k + tl.arange(0, block_k)
        row = first + near
        seen = (near < n_own) & (row % length >= back)
        seen = seen & (module + side >= 0) & (module + side < n_modules)
        grads = load_tile(grad + module * d_module, row, width, seen, out, d_module)
        values = load_tile(
            mixed + (module + side) * d_module, row - back, width, seen, column, d_module
        )
        total = tl.dot(
            tl.trans(grads.to(operand)),
            values.to(operand),
            total,
            input_precision=precision,
            out_dtype=accumulator,
        )
    inside = (out < d_module)[:, None] & (column < d_module)[None, :]
    at = ((part.to(tl.int64) * d_module + out)[:, None] * n_taps + tap) * d_module + column[None, :]
    tl.store(dweight + at, total, mask=inside)
