"""The layers of a decoder as steps of a plan."""

from __future__ import annotations

from typing import cast

from torch import nn

from kernels.decoding_step import place
from kernels.packed import pack_panels, pack_rows
from terraformer.branch import AttentionBranch, Branch, FeedForwardBranch
from terraformer.decoding_attention import plan_attention
from terraformer.decoding_plan import PlanBuilder, Vector
from terraformer.decoding_slots import CellSlots, Slots
from terraformer.feed_forward import DenseFF, SparseFF
from terraformer.selected_cache import SelectedCacheConfig
from terraformer.sru import SRUBranch
from terraformer.switch import SwitchFF


class UncoveredError(ValueError):
    """A model that the decoding step in C++ does not cover; its own `step` decodes it."""


def plan_branch(
    builder: PlanBuilder,
    branch: Branch,
    x: Vector,
    y: Vector,
    selected: SelectedCacheConfig | None = None,
) -> Slots:
    """Plans y + branch(x), where y may be x.

    Args:
        builder: Of the plan.
        branch: The branch.
        x: Vector, [D].
        y: Vector, [D].
        selected: What layers of full attention read of their caches; None if all.
    Raises:
        UncoveredError: if the branch has a layer that is not covered.
    """
    if isinstance(branch, AttentionBranch):
        return plan_attention(builder, branch, x, y, selected)
    return _plan_feed_forward(builder, cast(FeedForwardBranch, branch), x, y)


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
