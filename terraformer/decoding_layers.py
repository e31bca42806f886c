"""The layers of a decoder as steps of a plan."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from kernels.decoding_step import place
from kernels.lsh_attention.reference import NORM_EPSILON
from kernels.packed import pack_panels, pack_rows
from terraformer.attention import FullAttention
from terraformer.branch import AttentionBranch, Branch, CrossAttentionBranch, FeedForwardBranch
from terraformer.decoding_plan import PlanBuilder, Ring, Vector
from terraformer.decoding_slots import AttentionSlots, CacheSlots, CellSlots, Slots
from terraformer.feed_forward import DenseFF, SparseFF
from terraformer.local_attention import LocalAttention
from terraformer.projection import SeparateOutput, SeparateQKV
from terraformer.sparse_qkv import ConvolutionalOutput, ConvolutionalQKV
from terraformer.sru import SRUBranch
from terraformer.switch import SwitchFF


class UncoveredError(ValueError):
    """A model that the decoding step in C++ does not cover; its own `step` decodes it."""


def plan_branch(builder: PlanBuilder, branch: Branch, x: Vector, y: Vector) -> Slots:
    """Plans y + branch(x), where y may be x.

    Raises:
        UncoveredError: if the branch has a layer that is not covered.
    """
    if isinstance(branch, AttentionBranch):
        return _plan_attention(builder, branch, x, y)
    return _plan_feed_forward(builder, cast(FeedForwardBranch, branch), x, y)


def plan_cross_attention(
    builder: PlanBuilder, branch: CrossAttentionBranch, x: Vector
) -> AttentionSlots:
    """Plans x + branch(x), with keys and values of the encoder that stay."""
    layer = branch.attention
    normed = builder.norm(branch.norm, x, builder.scratch("normed", x.width))
    q, out = (builder.scratch(name, x.width) for name in ("q", "attended"))
    builder.layer(layer.w_q, normed, q)
    d_head = x.width // layer.n_heads
    cache = CacheSlots(builder.slot(), builder.slot(), layer.n_heads, d_head)
    builder.add("cross_attention", _attention_fields(cache, q, out) | {"scale": d_head**-0.5})
    builder.layer(layer.w_o, out, x, adds=True)
    return AttentionSlots(cache)


def _plan_attention(builder: PlanBuilder, branch: AttentionBranch, x: Vector, y: Vector) -> Slots:
    layer = branch.attention
    if not isinstance(layer, FullAttention | LocalAttention):
        raise UncoveredError(f"attention {type(layer).__name__} has no decoding step in C++")
    normed = builder.norm(branch.norm, x, builder.scratch("normed", x.width))
    q, k, v, out = (builder.scratch(name, x.width) for name in ("q", "k", "v", "attended"))
    if layer.qkv.shares_qk:
        k = q
    qkv = _plan_qkv(builder, layer.qkv, normed, q, k, v)
    d_head = x.width // layer.n_heads
    cache = CacheSlots(builder.slot(), builder.slot(), layer.n_heads, d_head)
    is_local = isinstance(layer, LocalAttention)
    fields = _attention_fields(cache, q, out) | {
        "k": k.at,
        "v": v.at,
        "shares_qk": int(layer.qkv.shares_qk),
        "scale": 1.0 if layer.qkv.shares_qk else d_head**-0.5,
        "epsilon": NORM_EPSILON,
        "frequencies": builder.address(_frequencies(d_head) if layer.rotary else None),
        "chunk_len": layer.chunk_len if is_local else 0,
        "chunks_before": layer.n_chunks_before if is_local else 0,
    }
    builder.add("self_attention", fields)
    return AttentionSlots(cache, qkv, _plan_output(builder, layer.output, out, y))


def _frequencies(d_head: int) -> Tensor:
    """Radians by which rotary positions turn a pair of components from one position to the next."""
    return 10000.0 ** -(torch.arange(0, d_head, 2, dtype=torch.float32) / d_head)


def _attention_fields(cache: CacheSlots, q: Vector, out: Vector) -> dict[str, int | float]:
    return {
        "q": q.at,
        "out": out.at,
        "keys": place(cache.keys),
        "values": place(cache.values),
        "heads": cache.n_heads,
        "d_head": cache.d_head,
    }


def _plan_qkv(
    builder: PlanBuilder,
    layer: SeparateQKV | ConvolutionalQKV,
    x: Vector,
    q: Vector,
    k: Vector,
    v: Vector,
) -> tuple[Ring, ...]:
    if isinstance(layer, ConvolutionalQKV):
        return _plan_convolutional_qkv(builder, layer, x, q, k, v)
    if layer.shares_qk:
        builder.layer(cast(nn.Module, layer.w_qk), x, q)
    else:
        builder.layer(cast(nn.Module, layer.w_q), x, q)
        builder.layer(cast(nn.Module, layer.w_k), x, k, beside=True)
    builder.layer(layer.w_v, x, v, beside=True)
    return ()


def _plan_convolutional_qkv(
    builder: PlanBuilder, layer: ConvolutionalQKV, x: Vector, q: Vector, k: Vector, v: Vector
) -> tuple[Ring, ...]:
    mixed = builder.scratch("mixed", x.width)
    builder.layer(layer.mix, x, mixed)
    qk_ring = builder.ring(layer.w_qk if layer.shares_qk else layer.w_q, mixed)
    v_ring = qk_ring
    if layer.config.value_input != "mixed":
        v_ring = builder.ring(layer.w_v, _plan_value_input(builder, layer, mixed, x))
    if layer.shares_qk:
        builder.convolution(layer.w_qk, qk_ring, q)
    else:
        builder.convolution(layer.w_q, qk_ring, q)
        builder.convolution(layer.w_k, qk_ring, k, beside=True)
    builder.convolution(layer.w_v, v_ring, v, beside=True)
    return qk_ring, v_ring


def _plan_value_input(
    builder: PlanBuilder, layer: ConvolutionalQKV, mixed: Vector, x: Vector
) -> Vector:
    both = builder.scratch("value input", 2 * x.width)
    n_rows = layer.config.n_modules if layer.config.value_input == "both" else 1
    d_row = x.width // n_rows
    for start, part in ((0, mixed), (d_row, x)):
        builder.copy(
            part.part(0, d_row),
            both.part(start, d_row),
            rows=n_rows,
            x_stride=d_row,
            y_stride=2 * d_row,
        )
    return both


def _plan_output(
    builder: PlanBuilder, layer: SeparateOutput | ConvolutionalOutput, x: Vector, y: Vector
) -> tuple[Ring, ...]:
    if isinstance(layer, SeparateOutput):
        builder.layer(layer.w_o, x, y, adds=True)
        return ()
    if layer.w_o is None:
        if layer.mix is None:
            builder.copy(x, y, adds=True)
        else:
            builder.layer(layer.mix, x, y, adds=True)
        return ()
    if layer.mix is not None:
        mixed = builder.scratch("mixed", x.width)
        builder.layer(layer.mix, x, mixed)
        x = mixed
    ring = builder.ring(layer.w_o, x)
    builder.convolution(layer.w_o, ring, y, adds=True)
    return (ring,)


def _plan_feed_forward(
    builder: PlanBuilder, branch: FeedForwardBranch, x: Vector, y: Vector
) -> CellSlots:
    normed = builder.norm(branch.norm, x, builder.scratch("normed", x.width))
    cells = CellSlots((), 0)
    recurrent = None
    if branch.sru is not None:
        recurrent, cells = _plan_recurrence(builder, branch.sru, x)
    _plan_units(builder, branch.feed_forward, normed, y)
    if branch.sru is not None and recurrent is not None:
        builder.layer(branch.sru.w_out, recurrent, y, adds=True)
    return cells


def _plan_recurrence(builder: PlanBuilder, layer: SRUBranch, x: Vector) -> tuple[Vector, CellSlots]:
    """Plans all of the branch but its last layer, whose output may go to x itself."""
    n_units = layer.w_in.out_features
    normed = builder.norm(layer.norm, x, builder.scratch("normed for recurrence", x.width))
    h = builder.scratch("recurrent", n_units)
    gates = builder.scratch("gates", 3 * n_units)
    builder.layer(layer.w_in, normed, h)
    slots = []
    for recurrent in layer.layers:
        slots.append(builder.slot())
        builder.layer(cast(nn.Module, recurrent.gates), h, gates)
        fields = {"gates": gates.at, "x": h.at, "cell": place(slots[-1]), "y": h.at}
        builder.add("recurrent_cell", fields | {"units": n_units})
    return h, CellSlots(tuple(slots), n_units)


def _plan_units(
    builder: PlanBuilder, layer: DenseFF | SparseFF | SwitchFF, x: Vector, y: Vector
) -> None:
    if isinstance(layer, SparseFF):
        _plan_sparse(builder, layer, x, y)
    elif isinstance(layer, SwitchFF):
        _plan_switch(builder, layer, x, y)
    else:
        units = builder.scratch("units", layer.w1.out_features)
        builder.linear(layer.w1.weight, layer.w1.bias, x, units, relu=True)
        builder.linear(layer.w2.weight, layer.w2.bias, units, y, adds=True)


def _plan_sparse(builder: PlanBuilder, layer: SparseFF, x: Vector, y: Vector) -> None:
    low = builder.scratch("low", layer.config.d_lowrank)
    builder.linear(layer.controller_in, None, x, low)
    controller = pack_panels(layer.controller_out, builder.int8)
    rows = pack_rows((layer.w1, layer.w2), builder.int8)
    fields = {
        "controller": builder.address(controller.weights),
        "controller_scales": builder.address(controller.scales),
        "controller_bias": builder.address(layer.controller_bias),
        "rows": builder.address(rows.weights),
        "row_scales": builder.address(rows.scales),
        "bias": builder.address(layer.b2),
        "x": x.at,
        "low": low.at,
        "y": y.at,
        "units": layer.config.d_ff,
        "d_lowrank": low.width,
        "block_size": layer.config.block_size,
        "d_model": x.width,
        "multiplies": int(layer.config.multiply_by_controller),
    }
    builder.add("sparse_feed_forward", fields)


def _plan_switch(builder: PlanBuilder, layer: SwitchFF, x: Vector, y: Vector) -> None:
    experts = layer.experts
    if experts.group is not None:
        raise UncoveredError("experts spread over processes have no decoding step in C++")
    n_experts, d_ff, _ = experts.w1.shape
    logits = builder.scratch("router", n_experts)
    builder.linear(layer.router, None, x, logits, exact=True)  # a wrong expert costs most
    builder.add("route", {"logits": logits.at, "experts": n_experts})
    units, out = builder.scratch("units", d_ff), builder.scratch("expert's", x.width)
    builder.expert_linear(experts.w1, experts.b1, x, units, relu=True)
    builder.expert_linear(experts.w2, experts.b2, units, out)
    builder.copy(out, y, adds=True, by_probability=True)
