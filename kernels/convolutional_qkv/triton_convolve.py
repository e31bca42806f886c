"""The forward kernel of the convolutions: queries, keys and values of a tile in one pass.

Rows are [B * L, D]. A tap of a kernel is a step back in time and one to a module beside; what
stands before a sequence, and beyond the first and the last module, is zero.
"""

# pyright: reportOperatorIssue=false, reportGeneralTypeIssues=false
# pyright: reportUnboundVariable=false, reportPossiblyUnboundVariable=false
# Its types are those of calls from Python, where a kernel returns nothing; branches are chosen when
# a kernel is compiled.

from __future__ import annotations

import triton
import triton.language as tl

from kernels.multiplicative.triton_product import load_tile


@triton.jit
def store_tile(out, values, bias, row, real, column, module, width, d_module: tl.constexpr):
    """Writes values [M, N] with a bias added to columns of one module of rows [T, width]."""
    added = tl.load(bias + column, mask=column < d_module, other=0.0).to(values.dtype)
    at = out + row[:, None] * width + (module * d_module + column)[None, :]
    inside = real[:, None] & (column < d_module)[None, :]
    tl.store(at, (values + added[None, :]).to(out.dtype.element_ty), mask=inside)


@triton.jit
def convolutional_qkv_fwd_kernel(
    mixed,
    w_q,
    b_q,
    w_k,
    b_k,
    w_v,
    b_v,
    q,
    k,
    v,
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
    """Writes one module's queries, keys and values of a block of rows of the mixed input."""
    width: tl.constexpr = n_modules * d_module
    n_taps: tl.constexpr = n_back * n_around
    n_steps: tl.constexpr = (d_module + block_k - 1) // block_k
    row = tl.program_id(0).to(tl.int64) * block_m + tl.arange(0, block_m)
    module = tl.program_id(1)
    column = tl.program_id(2) * block_n + tl.arange(0, block_n)
    is_column = column < d_module
    real = row < n_rows
    time = row % length
    q_sum = tl.zeros([block_m, block_n], accumulator)
    k_sum = tl.zeros([block_m, block_n], accumulator)
    for step in range(n_taps * n_steps):
        tap = step // n_steps
        inner = (step % n_steps) * block_k + tl.arange(0, block_k)
        back = n_back - 1 - tap // n_around
        near = module + tap % n_around - n_around // 2
        seen = real & (time >= back) & (near >= 0) & (near < n_modules)
        values = load_tile(mixed + near * d_module, row - back, width, seen, inner, d_module)
        values = values.to(operand)
        weights = load_tile(
            w_q + tap * d_module, column, n_taps * d_module, is_column, inner, d_module
        )
        q_sum = tl.dot(
            values,
            tl.trans(weights.to(operand)),
            q_sum,
            input_precision=precision,
            out_dtype=accumulator,
        )
        if has_k:
            weights = load_tile(
                w_k + tap * d_module, column, n_taps * d_module, is_column, inner, d_module
            )
            k_sum = tl.dot(
                values,
                tl.trans(weights.to(operand)),
                k_sum,
                input_precision=precision,
                out_dtype=accumulator,
            )
    store_tile(q, q_sum, b_q, row, real, column, module, width, d_module)
    if has_k:
        store_tile(k, k_sum, b_k, row, real, column, module, width, d_module)
    v_sum = tl.zeros([block_m, block_n], accumulator)
    for step in range(n_back * n_steps):
        tap = step // n_steps
        inner = (step % n_steps) * block_k + tl.arange(0, block_k)
        back = n_back - 1 - tap
        seen = real & (time >= back)
        values = load_tile(mixed + module * d_module, row - back, width, seen, inner, d_module)
        weights = load_tile(
            w_v + tap * d_module, column, n_back * d_module, is_column, inner, d_module
        )
        v_sum = tl.dot(
            values.to(operand),
            tl.trans(weights.to(operand)),
            v_sum,
            input_precision=precision,
            out_dtype=accumulator,
        )
    store_tile(v, v_sum, b_v, row, real, column, module, width, d_module)
