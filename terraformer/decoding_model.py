"""A whole decoder as a plan: embedding, blocks on one stream or two, norm and loss layer."""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import torch.nn.functional as F
from torch import Tensor, nn

from kernels.decoding_step import place
from terraformer.blocks import Stack
from terraformer.decoding_attention import plan_cross_attention
from terraformer.decoding_layers import plan_branch
from terraformer.decoding_plan import ENCODING, LOGITS, PlanBuilder, Vector
from terraformer.decoding_slots import AttentionSlots, Slots
from terraformer.encoder_decoder import EncoderDecoder
from terraformer.language_model import LanguageModel
from terraformer.positions import Positions, TimeBinPositions
from terraformer.residual import ResidualStack
from terraformer.selected_cache import SelectedCacheConfig


class ModelSlots(NamedTuple):
    """What a model carries from token to token.

    Attributes:
        branches: Of each branch of each block.
        cross: Of each block's attention to an encoder.
        final: Of the decoder's final state, where a copy path reads it.
    """

    branches: list[list[Slots]]
    cross: list[AttentionSlots]
    final: int | None


def plan_model(
    builder: PlanBuilder,
    model: LanguageModel | EncoderDecoder,
    selected: SelectedCacheConfig | None = None,
) -> ModelSlots:
    """Plans how a model's decoder makes logits of a token.

    Args:
        builder: Of the plan.
        model: The model.
        selected: What layers of full attention read of their caches; None if all.
    Raises:
        UncoveredError: if it has a layer that is not covered.
    """
    x = builder.vector(model.config.d_model)
    embed = {"table": builder.address(_table(model)), "encoding": place(ENCODING)}
    builder.add("embed", embed | {"y": x.at, "d_model": x.width})
    cross: list[AttentionSlots] = []
    if isinstance(model.decoder, ResidualStack):
        branches = _plan_residual(builder, model.decoder, x, cross, selected)
    else:
        streams, branches = _plan_reversible(builder, model.decoder, x, selected)
        x = _plan_join(builder, streams, getattr(model.config, "join_streams", "mean"))
    final = builder.slot() if getattr(model, "copy", None) is not None else None
    out = builder.vector(x.width) if final is None else Vector(place(final), x.width)
    builder.norm(model.norm, x, out)
    _plan_head(builder, model.head, out, Vector(place(LOGITS), model.config.vocab_size))
    return ModelSlots(branches, cross, final)


def positions_of(model: LanguageModel | EncoderDecoder) -> Positions | None:
    """Returns the positional encoding of what a model's decoder reads, None if there is none."""
    return model.target_positions if isinstance(model, EncoderDecoder) else model.positions


def _plan_residual(
    builder: PlanBuilder,
    stack: ResidualStack,
    x: Vector,
    cross: list[AttentionSlots],
    selected: SelectedCacheConfig | None,
) -> list[list[Slots]]:
    planned = []
    for block in stack.blocks:
        *attention, feed_forward = cast(Any, block).own()
        slots = [plan_branch(builder, branch, x, x, selected) for branch in attention]
        if block.cross is not None:
            cross.append(plan_cross_attention(builder, cast(Any, block.cross), x, selected))
        planned.append([*slots, plan_branch(builder, feed_forward, x, x)])
    return planned


def _plan_reversible(
    builder: PlanBuilder, stack: Stack, x: Vector, selected: SelectedCacheConfig | None
) -> tuple[tuple[Vector, Vector], list[list[Slots]]]:
    x1, x2 = x, builder.vector(x.width)
    builder.copy(x1, x2)
    planned = []
    for block in stack.sequence.blocks:
        planned.append([])
        for branch, swap in cast(Any, block).steps():
            planned[-1].append(plan_branch(builder, branch, x2, x1, selected))
            if swap:
                x1, x2 = x2, x1
    return (x1, x2), planned


def _plan_join(builder: PlanBuilder, streams: tuple[Vector, Vector], how: str) -> Vector:
    width = streams[0].width
    if how == "concatenated":
        joined = builder.vector(2 * width)
        for i, stream in enumerate(streams):
            builder.copy(stream, joined.part(i * width, width))
        return joined
    joined = builder.vector(width)
    for i, stream in enumerate(streams):
        builder.copy(stream, joined, factor=0.5, adds=i > 0)
    return joined


def _plan_head(builder: PlanBuilder, head: nn.Module, x: Vector, logits: Vector) -> None:
    if isinstance(head, nn.Sequential):
        first, head = cast(nn.Linear, head[0]), head[1]
        low = builder.vector(first.out_features)
        builder.layer(first, x, low)
        x = low
    builder.layer(head, x, logits)


def _table(model: LanguageModel | EncoderDecoder) -> Tensor:
    """Embeddings, zero where positions replace what they say."""
    table = model.embedding.weight.detach()
    if isinstance(positions_of(model), TimeBinPositions):
        return F.pad(table[:, :-3], (0, 3))
    return table
