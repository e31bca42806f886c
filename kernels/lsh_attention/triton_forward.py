"""The forward kernel of LSH attention: one sorted round of all heads at a time."""

# pyright: reportOperatorIssue=false, reportGeneralTypeIssues=false
# Its types are those of calls from Python, where a kernel returns nothing.

from __future__ import annotations

import triton
import triton.language as tl

from kernels.lsh_attention.triton_tile import (
    LOG2_E,
    LONELY,
    UNREACHABLE,
    load_places,
    load_rows,
    mask_scores,
    store_rows,
)


@triton.jit(do_not_specialize=["round_index"])
def lsh_attention_fwd_kernel(
    qk,
    v,
    key_scale,
    order,
    lengths,
    weight_scale,
    before,
    out,
    total,
    round_index,
    n_heads,
    length,
    qk_b,
    qk_h,
    qk_l,
    v_b,
    v_h,
    v_l,
    before_b,
    before_h,
    before_l,
    out_b,
    out_h,
    out_l,
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
    """Attends from `block_m` places of one chunk, and merges what earlier rounds found.

    `before` and `total` hold outputs and base-2 log-sum-exps of the earlier rounds; each position
    stands in one chunk of a round, so no other program touches its row.
    """
    tiles_m: tl.constexpr = (chunk_len + block_m - 1) // block_m
    tiles_n: tl.constexpr = (chunk_len + block_n - 1) // block_n
    pair = tl.program_id(1).to(tl.int64)
    b, h = pair // n_heads, pair % n_heads
    qk += b * qk_b + h * qk_h
    v += b * v_b + h * v_h
    key_scale += pair * length
    total += pair * length
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
    q = load_rows(qk, time, qk_l, real, d_qk, block_qk).to(operand)

    peak = tl.full([block_m], UNREACHABLE, accumulator)
    weight = tl.zeros([block_m], accumulator)
    sums = tl.zeros([block_m, block_v], accumulator)
    n_slots = tl.where(chunk < circle, tl.minimum(circle, n_window), 0)
    for step in range(n_slots * tiles_n):
        slot = step // tiles_n
        near = (chunk + slot + n_window * circle - n_before) % circle
        near_place = (step % tiles_n) * block_n + tl.arange(0, block_n)
        near_time, reachable = load_places(
            order, near * chunk_len + near_place, real_length, near_place < chunk_len
        )
        k = load_rows(qk, near_time, qk_l, reachable, d_qk, block_qk).to(operand)
        scale = tl.load(key_scale + near_time, mask=reachable, other=0.0)
        scores = tl.dot(q, tl.trans(k), input_precision=precision, out_dtype=accumulator)
        scores, _ = mask_scores(
            scores * (scale * LOG2_E)[None, :],
            time[:, None],
            near_time[None, :],
            reachable[None, :],
            causal,
        )
        new_peak = tl.maximum(peak, tl.max(scores, axis=1))
        shrink = tl.exp2(peak - new_peak)
        weights = tl.exp2(scores - new_peak[:, None])
        weight = weight * shrink + tl.sum(weights, axis=1)
        if has_scale:
            columns = slot * chunk_len + near_place
            factors = weight_scale + place[:, None] * (n_window * chunk_len) + columns[None, :]
            within = (place < chunk_len)[:, None] & (near_place < chunk_len)[None, :]
            weights *= tl.load(factors, mask=within, other=0.0).to(accumulator)
        values = load_rows(v, near_time, v_l, reachable, d_v, block_v).to(operand)
        sums = tl.dot(
            weights.to(operand),
            values,
            sums * shrink[:, None],
            input_precision=precision,
            out_dtype=accumulator,
        )
        peak = new_peak

    weight = tl.where(real, weight, 1.0)
    found = peak + tl.log2(weight)
    rows = sums / weight[:, None]
    if round_index > 0:
        earlier = tl.load(total + time, mask=real, other=UNREACHABLE)
        # A position alone in all rounds so far weighs them alike; their sum would be rounded.
        n_earlier = tl.where(earlier == LONELY, round_index, 1).to(accumulator)
        highest = tl.maximum(earlier, found)
        old, new = tl.exp2(earlier - highest) * n_earlier, tl.exp2(found - highest)
        earlier_rows = load_rows(
            before + b * before_b + h * before_h, time, before_l, real, d_v, block_v
        ).to(accumulator)
        both = tl.where(real, old + new, 1.0)
        rows = (earlier_rows * old[:, None] + rows * new[:, None]) / both[:, None]
        found = tl.where(highest == LONELY, LONELY, highest + tl.log2(both))
    rows = tl.where(real[:, None], rows, 0.0)
    store_rows(out + b * out_b + h * out_h, time, out_l, stored, rows, d_v, block_v)
    tl.store(total + time, found, mask=real)
