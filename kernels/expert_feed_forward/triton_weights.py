"""The kernel that sums the gradients of all experts' weights, each over its own rows."""

# pyright: reportOperatorIssue=false, reportGeneralTypeIssues=false
# Its types are those of calls from Python, where a kernel returns nothing.

from __future__ import annotations

import triton
import triton.language as tl

from kernels.multiplicative.triton_product import load_tile


@triton.jit
def expert_feed_forward_dw_kernel(
    grad,
    rows,
    n_rows,
    dweight,
    dbias,
    n_experts: tl.constexpr,
    d_in: tl.constexpr,
    d_out: tl.constexpr,
    block_e: tl.constexpr,
    block_m: tl.constexpr,
    block_n: tl.constexpr,
    block_k: tl.constexpr,
    operand: tl.constexpr,
    accumulator: tl.constexpr,
    precision: tl.constexpr,
):
    """Writes a block of one expert's dweight [d_out, d_in], and dbias [d_out] where it begins.

    They are made of rows [N, d_in] and the gradients of outputs [N, d_out]; an expert without rows
    gets zeros.
    """
    expert = tl.program_id(2).to(tl.int64)
    others = tl.arange(0, block_e)
    counts = tl.load(n_rows + others, mask=others < n_experts, other=0)
    first = tl.sum(tl.where(others < expert, counts, 0), axis=0)
    n_own = tl.sum(tl.where(others == expert, counts, 0), axis=0)
    out = tl.program_id(0) * block_m + tl.arange(0, block_m)
    column = tl.program_id(1) * block_n + tl.arange(0, block_n)
    total = tl.zeros([block_m, block_n], accumulator)
    for start in range(0, n_own, block_k):
        near = start + tl.arange(0, block_k).to(tl.int64)
        grads = load_tile(grad, first + near, d_out, near < n_own, out, d_out)
        values = load_tile(rows, first + near, d_in, near < n_own, column, d_in)
        total = tl.dot(
            tl.trans(grads.to(operand)),
            values.to(operand),
            total,
            input_precision=precision,
            out_dtype=accumulator,
        )
    inside = (out < d_out)[:, None] & (column < d_in)[None, :]
    at = (expert * d_out + out)[:, None] * d_in + column[None, :]
    tl.store(dweight + at, total.to(dweight.dtype.element_ty), mask=inside)
    if tl.program_id(1) == 0:
        sums = tl.zeros([block_m], accumulator)
        for start in range(0, n_own, block_k):
            near = start + tl.arange(0, block_k).to(tl.int64)
            grads = load_tile(grad, first + near, d_out, near < n_own, out, d_out)
            sums += tl.sum(grads.to(accumulator), axis=0)
        values = sums.to(dbias.dtype.element_ty)
        tl.store(dbias + expert * d_out + out, values, mask=out < d_out)
