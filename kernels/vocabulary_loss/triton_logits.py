"""The kernels of the loss: tiles of logits that stay in registers, forwards and once more back."""

# pyright: reportOperatorIssue=false, reportGeneralTypeIssues=false
# Its types are those of calls from Python, where a kernel returns nothing.

from __future__ import annotations

import triton
import triton.language as tl

from kernels.multiplicative.triton_product import multiplicative_tile

UNREACHABLE = tl.constexpr(-1.0e30)  # finite, so that differences of two are numbers


@triton.jit
def vocabulary_loss_fwd_kernel(
    states,
    targets,
    projection,
    gate,
    bias,
    totals,
    hits,
    n_rows,
    n_tiles,
    states_t,
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
    """Log-sum-exps of the logits of `n_tiles` tiles, and the target's logit if it is among them.

    Both are [n, T], one row for each part of the vocabulary; elsewhere a target's logit is 0.
    """
    row = tl.program_id(0).to(tl.int64) * block_m + tl.arange(0, block_m)
    real = row < n_rows
    target = tl.load(targets + row, mask=real, other=-1)
    peak = tl.full([block_m], UNREACHABLE, accumulator)
    weight = tl.zeros([block_m], accumulator)
    hit = tl.zeros([block_m], accumulator)
    first = tl.program_id(1) * n_tiles
    n_all = n_modules * ((d_module + block_n - 1) // block_n)
    for tile in range(first, tl.minimum(first + n_tiles, n_all)):
        logits, piece, is_piece = multiplicative_tile(
            states,
            projection,
            gate,
            bias,
            row,
            real,
            states_t,
            tile,
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
        is_target = (piece[None, :] == target[:, None]) & is_piece[None, :]
        hit += tl.sum(tl.where(is_target, logits, 0.0), axis=1)
        logits = tl.where(is_piece[None, :], logits, -float("inf"))
        new_peak = tl.maximum(peak, tl.max(logits, axis=1))
        weight *= tl.exp(peak - new_peak)
        weight += tl.sum(tl.exp(logits - new_peak[:, None]), axis=1)
        peak = new_peak
    at = tl.program_id(1).to(tl.int64) * n_rows + row
    tl.store(totals + at, peak + tl.log(weight), mask=real)
    tl.store(hits + at, hit, mask=real)


@triton.jit
def vocabulary_loss_bwd_kernel(
    states,
    targets,
    projection,
    gate,
    bias,
    total,
    factors,
    dlogits,
    dbias,
    n_rows,
    states_t,
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
    """Gradients of one tile of the logits [T, V], each row times its factor [T].

    Each block of rows leaves its sums in a row of dbias [n, V].
    """
    vocab_size: tl.constexpr = n_modules * d_module
    row = tl.program_id(0).to(tl.int64) * block_m + tl.arange(0, block_m)
    real = row < n_rows
    target = tl.load(targets + row, mask=real, other=-1)
    logits, piece, is_piece = multiplicative_tile(
        states,
        projection,
        gate,
        bias,
        row,
        real,
        states_t,
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
    inside = real[:, None] & is_piece[None, :]
    row_total = tl.load(total + row, mask=real, other=0.0)
    grads = tl.exp(logits - row_total[:, None])
    grads -= (piece[None, :] == target[:, None]).to(accumulator)
    grads *= tl.load(factors + row, mask=real, other=0.0)[:, None]
    grads = tl.where(inside, grads, 0.0)
    at = dlogits + row[:, None] * vocab_size + piece[None, :]
    tl.store(at, grads.to(dlogits.dtype.element_ty), mask=inside)
    if has_bias:
        sums = dbias + tl.program_id(0).to(tl.int64) * vocab_size + piece
        tl.store(sums, tl.sum(grads, axis=0), mask=is_piece)
