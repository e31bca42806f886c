"""The backward kernel of LSH attention: one sorted round, scores computed anew, no atomics."""

# pyright: reportOperatorIssue=false, reportGeneralTypeIssues=false
# Its types are those of calls from Python, where a kernel returns nothing.

from __future__ import annotations

import triton
import triton.language as tl

from kernels.lsh_attention.triton_tile import (
    LOG2_E,
    LONELY,
    load_places,
    load_rows,
    mask_scores,
    store_rows,
)


@triton.jit(do_not_specialize=["round_index"])
def lsh_attention_bwd_kernel(
    qk,
    v,
    grad,
    key_scale,
    order,
    lengths,
    weight_scale,
    total,
    delta,
    dqk_before,
    dv_before,
    dqk,
    dv,
    round_index,
    n_heads,
    length,
    qk_b,
    qk_h,
    qk_l,
    v_b,
    v_h,
    v_l,
    grad_b,
    grad_h,
    grad_l,
    dqk_before_b,
    dqk_before_h,
    dqk_before_l,
    dv_before_b,
    dv_before_h,
    dv_before_l,
    dqk_b,
    dqk_h,
    dqk_l,
    dv_b,
    dv_h,
    dv_l,
    n_rounds: tl.constexpr,
    chunk_len: tl.constexpr,
    n_before: tl.constexpr,
    n_window: tl.constexpr,
    causal: tl.constexpr,
    has_scale: tl.constexpr,
    d_qk: tl.constexpr,
    d_v: tl.constexpr,
    block_qk: tl.constexpr,
    block_v: tl.constexpr,
    block_m: tl.constexpr,
    block_n: tl.constexpr,
    operand: tl.constexpr,
    accumulator: tl.constexpr,
    precision: tl.constexpr,
):
    """Gradients of `block_m` rows, first as keys and values, then as queries.

    `total` is the base-2 log-sum-exp over all rounds, `delta` the product of output and gradient:
    a weight of any round is exp2(score - total), so rounds need nothing of one another. What the
    earlier ones added up is read from `dqk_before` and `dv_before`.
    """
    tiles_m: tl.constexpr = (chunk_len + block_m - 1) // block_m
    tiles_n: tl.constexpr = (chunk_len + block_n - 1) // block_n
    pair = tl.program_id(1).to(tl.int64)
    b, h = pair // n_heads, pair % n_heads
    qk += b * qk_b + h * qk_h
    v += b * v_b + h * v_h
    grad += b * grad_b + h * grad_h
    key_scale += pair * length
    total += pair * length
    delta += pair * length
    order += (pair * n_rounds + round_index) * length
    weight_scale += pair * (chunk_len * n_window * chunk_len)

    real_length = tl.load(lengths + b)
    circle = tl.maximum(tl.cdiv(real_length, chunk_len), 1)
    chunk = tl.program_id(0) // tiles_m
    place = (tl.program_id(0) % tiles_m) * block_m + tl.arange(0, block_m)
    index = chunk * chunk_len + place
    stored = (place < chunk_len) & (index < length)
    time = tl.load(order + index, mask=stored, other=0)
    real = stored & (index < real_length)
    own = load_rows(qk, time, qk_l, real, d_qk, block_qk).to(operand)
    own_values = load_rows(v, time, v_l, real, d_v, block_v).to(operand)
    own_scale = tl.load(key_scale + time, mask=real, other=0.0)
    n_steps = tl.where(chunk < circle, tl.minimum(circle, n_window), 0) * tiles_n

    dk = tl.zeros([block_m, block_qk], accumulator)
    dvalues = tl.zeros([block_m, block_v], accumulator)
    for step in range(n_steps):
        slot = step // tiles_n
        near = (chunk + n_before + n_window * circle - slot) % circle  # whose slot is this chunk
        near_place = (step % tiles_n) * block_n + tl.arange(0, block_n)
        near_time, reachable = load_places(
            order, near * chunk_len + near_place, real_length, near_place < chunk_len
        )
        q = load_rows(qk, near_time, qk_l, reachable, d_qk, block_qk).to(operand)
        scores = tl.dot(own, tl.trans(q), input_precision=precision, out_dtype=accumulator)
        scores, itself = mask_scores(
            scores * (own_scale * LOG2_E)[:, None],
            near_time[None, :],
            time[:, None],
            real[:, None] & reachable[None, :],
            causal,
        )
        near_total = tl.load(total + near_time, mask=reachable, other=0.0)
        alone = tl.where(near_total == LONELY, 1.0 / n_rounds, 1.0)
        weights = tl.exp2(scores - near_total[None, :]) * alone[None, :]
        g = load_rows(grad, near_time, grad_l, reachable, d_v, block_v).to(operand)
        dweights = tl.dot(own_values, tl.trans(g), input_precision=precision, out_dtype=accumulator)
        scaled = weights
        if has_scale:
            columns = slot * chunk_len + place
            factors = weight_scale + near_place[None, :] * (n_window * chunk_len) + columns[:, None]
            within = (place < chunk_len)[:, None] & (near_place < chunk_len)[None, :]
            factor = tl.load(factors, mask=within, other=0.0).to(accumulator)
            scaled = weights * factor
            dweights *= factor
        dvalues = tl.dot(
            scaled.to(operand), g, dvalues, input_precision=precision, out_dtype=accumulator
        )
        near_delta = tl.load(delta + near_time, mask=reachable, other=0.0)
        dscores = tl.where(itself, 0.0, weights * (dweights - near_delta[None, :]))
        dk = tl.dot(dscores.to(operand), q, dk, input_precision=precision, out_dtype=accumulator)
    if round_index > 0:
        dvalues += load_rows(
            dv_before + b * dv_before_b + h * dv_before_h, time, dv_before_l, real, d_v, block_v
        ).to(accumulator)
    dvalues = tl.where(real[:, None], dvalues, 0.0)
    store_rows(dv + b * dv_b + h * dv_h, time, dv_l, stored, dvalues, d_v, block_v)

    # A key is its row times a scale that follows the row's length.
    wide = own.to(accumulator)
    along = tl.sum(wide * dk, axis=1) * own_scale * own_scale
    drows = (dk - wide * along[:, None]) * own_scale[:, None]
    g = load_rows(grad, time, grad_l, real, d_v, block_v).to(operand)
    own_total = tl.load(total + time, mask=real, other=0.0)
    own_delta = tl.load(delta + time, mask=real, other=0.0)
    for step in range(n_steps):
        slot = step // tiles_n
        near = (chunk + slot + n_window * circle - n_before) % circle
        near_place = (step % tiles_n) * block_n + tl.arange(0, block_n)
        near_time, reachable = load_places(
            order, near * chunk_len + near_place, real_length, near_place < chunk_len
        )
        k = load_rows(qk, near_time, qk_l, reachable, d_qk, block_qk).to(operand)
        scale = tl.load(key_scale + near_time, mask=reachable, other=0.0)
        scores = tl.dot(own, tl.trans(k), input_precision=precision, out_dtype=accumulator)
        scores, itself = mask_scores(
            scores * (scale * LOG2_E)[None, :],
            time[:, None],
            near_time[None, :],
            real[:, None] & reachable[None, :],
            causal,
        )
        weights = tl.exp2(scores - own_total[:, None])
        values = load_rows(v, near_time, v_l, reachable, d_v, block_v).to(operand)
        dweights = tl.dot(g, tl.trans(values), input_precision=precision, out_dtype=accumulator)
        if has_scale:
            columns = slot * chunk_len + near_place
            factors = weight_scale + place[:, None] * (n_window * chunk_len) + columns[None, :]
            within = (place < chunk_len)[:, None] & (near_place < chunk_len)[None, :]
            dweights *= tl.load(factors, mask=within, other=0.0).to(accumulator)
        # Only a position's own weight depends on whether it is alone, and has no gradient.
        dscores = tl.where(itself, 0.0, weights * (dweights - own_delta[:, None]))
        dscores *= scale[None, :]
        drows = tl.dot(
            dscores.to(operand), k, drows, input_precision=precision, out_dtype=accumulator
        )
    if round_index > 0:
        drows += load_rows(
            dqk_before + b * dqk_before_b + h * dqk_before_h,
            time,
            dqk_before_l,
            real,
            d_qk,
            block_qk,
        ).to(accumulator)
    drows = tl.where(real[:, None], drows, 0.0)
    store_rows(dqk + b * dqk_b + h * dqk_h, time, dqk_l, stored, drows, d_qk, block_qk)
