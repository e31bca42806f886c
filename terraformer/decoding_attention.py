"""The attention layers of a decoder as steps of a plan."""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kernels.decoding_step import place
from kernels.lsh_attention.reference import NORM_EPSILON
from kernels.packed import PANEL_ROWS, round_up
from terraformer.attention import FullAttention
from terraformer.branch import AttentionBranch, CrossAttentionBranch
from terraformer.bucket_table import random_signs
from terraformer.decoding_caches import CacheSlots, ChainSlots, PanelSlots, SelectedSlots
from terraformer.decoding_plan import PlanBuilder, Ring, Vector
from terraformer.decoding_slots import AttentionSlots
from terraformer.local_attention import LocalAttention
from terraformer.lsh_attention import LSHAttention
from terraformer.projection import SeparateOutput, SeparateQKV
from terraformer.selected_cache import SelectedCacheConfig
from terraformer.sparse_qkv import ConvolutionalOutput, ConvolutionalQKV

Fields = dict[str, int | float]


def plan_attention(
    builder: PlanBuilder,
    branch: AttentionBranch,
    x: Vector,
    y: Vector,
    selected: SelectedCacheConfig | None,
) -> AttentionSlots:
    """Plans y + branch(x), where y may be x.

    Args:
        builder: Of the plan.
        branch: The branch.
        x: Vector, [D].
        y: Vector, [D].
        selected: What a layer of full attention reads of its cache; None if all.
    """
    layer = branch.attention
    normed = builder.norm(branch.norm, x, builder.scratch("normed", x.width))
    q, k, v, out = (builder.scratch(name, x.width) for name in ("q", "k", "v", "attended"))
    shares_qk = layer.qkv.shares_qk
    qkv = _plan_qkv(builder, layer.qkv, normed, q, q if shares_qk else k, v)
    if isinstance(layer, LSHAttention) and not shares_qk:
        mean = builder.scratch("qk", x.width)
        builder.copy(q, mean, factor=0.5)
        builder.copy(k, mean, factor=0.5, adds=True)
        q, shares_qk = mean, True
    d_head = x.width // layer.n_heads
    fields: Fields = {
        "q": q.at,
        "k": q.at if shares_qk else k.at,
        "v": v.at,
        "out": out.at,
        "heads": layer.n_heads,
        "d_head": d_head,
        "shares_qk": int(shares_qk),
        "scale": 1.0 if shares_qk else d_head**-0.5,
        "epsilon": NORM_EPSILON,
        "frequencies": builder.address(_frequencies(d_head) if layer.rotary else None),
    }
    cache = _plan_attending(builder, layer, fields, selected)
    return AttentionSlots(cache, qkv, _plan_output(builder, layer.output, out, y))


def plan_cross_attention(
    builder: PlanBuilder,
    branch: CrossAttentionBranch,
    x: Vector,
    selected: SelectedCacheConfig | None,
) -> AttentionSlots:
    """Plans x + branch(x), with keys and values of the encoder that stay."""
    layer = branch.attention
    normed = builder.norm(branch.norm, x, builder.scratch("normed", x.width))
    q, out = (builder.scratch(name, x.width) for name in ("q", "attended"))
    builder.layer(layer.w_q, normed, q)
    d_head = x.width // layer.n_heads
    fields: Fields = {
        "q": q.at,
        "out": out.at,
        "heads": layer.n_heads,
        "d_head": d_head,
        "scale": d_head**-0.5,
    }
    if selected is None:
        cache = _plan_panels(builder, "cross_attention", fields)
    else:
        cache = _plan_selected(builder, "selected_memory", fields, selected)
    builder.layer(layer.w_o, out, x, adds=True)
    return AttentionSlots(cache)


def _plan_attending(
    builder: PlanBuilder,
    layer: FullAttention | LocalAttention | LSHAttention,
    fields: Fields,
    selected: SelectedCacheConfig | None,
) -> CacheSlots:
    """Plans attention between queries, keys and values that are there."""
    if isinstance(layer, LSHAttention):
        return _plan_chains(builder, fields, layer)
    if isinstance(layer, LocalAttention):
        sizes = {"chunk_len": layer.chunk_len, "chunks_before": layer.n_chunks_before}
        return _plan_panels(builder, "self_attention", fields | sizes)
    if selected is not None:
        return _plan_selected(builder, "selected_attention", fields, selected)
    return _plan_panels(builder, "self_attention", fields | {"chunk_len": 0, "chunks_before": 0})


def _plan_panels(builder: PlanBuilder, step: str, fields: Fields) -> PanelSlots:
    slots = PanelSlots(builder.slot(), builder.slot())
    builder.add(step, fields | {"keys": place(slots.keys), "values": place(slots.values)})
    return slots


def _plan_selected(
    builder: PlanBuilder, step: str, fields: Fields, config: SelectedCacheConfig
) -> SelectedSlots:
    slots = SelectedSlots(*(builder.slot() for _ in range(3)))
    signs = random_signs(config.table_sizes, int(fields["d_head"]))
    sizes = {
        "signs": builder.address(_columns_of(signs) if config.n_hashes else None),
        "turned_width": signs.shape[1],
        "first": config.n_first,
        "recent": config.n_recent,
        "hashes": config.n_hashes,
        "n_buckets": config.n_buckets,
        "per_bucket": config.n_per_bucket,
        "probes": config.n_probes,
        "mean_of_rest": int(config.mean_of_rest),
    }
    places = {name: place(number) for name, number in vars(slots).items()}
    builder.add(step, fields | sizes | places)
    return slots


def _columns_of(signs: Tensor) -> Tensor:
    """Lays out signs [3, W, R] for two vectors that are turned at once, [groups, 4, W, 16].

    The first turn has signs for each vector by itself, divided by W^1.5.
    """
    first, *later = signs
    width, n_hashes = first.shape
    tables = [F.pad(first, (0, n_hashes)), F.pad(first, (n_hashes, 0))]
    tables = [table / width**1.5 for table in tables] + [turn.repeat(1, 2) for turn in later]
    columns = torch.stack(tables)
    columns = F.pad(columns, (0, round_up(2 * n_hashes) - 2 * n_hashes))
    return columns.unflatten(-1, (-1, PANEL_ROWS)).movedim(2, 0)


def _plan_chains(builder: PlanBuilder, fields: Fields, layer: LSHAttention) -> ChainSlots:
    numbers = (builder.slot() for _ in range(5))
    slots = ChainSlots(*numbers, layer=layer, d_head=int(fields["d_head"]))
    names = ("rows", "last", "before", "directions", "digits")
    sizes = {
        "chunk_len": layer.config.chunk_len,
        "chunks": layer.n_chunks_seen,
        "hashes": layer.config.n_hashes,
    }
    places = {name: place(getattr(slots, name)) for name in names}
    builder.add("lsh_attention", fields | sizes | places)
    return slots


def _frequencies(d_head: int) -> Tensor:
    """Radians by which rotary positions turn a pair of components from one position to the next."""
    return 10000.0 ** -(torch.arange(0, d_head, 2, dtype=torch.float32) / d_head)


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
