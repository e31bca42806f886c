"""Reversible residual streams: activations are computed anew from the outputs, not stored."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from terraformer.replay import Replay


class ReversibleBlock(nn.Module, ABC):
    """Two branches over two streams: y1 = x1 + f(x2), y2 = x2 + g(y1)."""

    @abstractmethod
    def f(self, x2: Tensor, mask: Tensor | None, replay: Replay) -> Tensor:
        """The branch that reads the second stream, [B, L, D] → [B, L, D]."""

    @abstractmethod
    def g(self, y1: Tensor, mask: Tensor | None, replay: Replay) -> Tensor:
        """The branch that reads the first stream, [B, L, D] → [B, L, D]."""

    def forward(
        self, x1: Tensor, x2: Tensor, mask: Tensor | None = None, replay: Replay | None = None
    ) -> tuple[Tensor, Tensor]:
        """Maps the streams, [B, L, D] each.

        Args:
            x1: First stream.
            x2: Second stream.
            mask: [B, L], True for real tokens; all are real if None.
            replay: Records what the branches draw and choose.
        Returns:
            y1, y2.
        """
        replay = replay or Replay()
        y1 = x1 + self.f(x2, mask, replay)
        return y1, x2 + self.g(y1, mask, replay)

    def inverse(
        self, y1: Tensor, y2: Tensor, mask: Tensor | None = None, replays: Replays | None = None
    ) -> tuple[Tensor, Tensor]:
        """Returns the streams x1, x2 from which `forward` made y1, y2, without gradient.

        Args:
            y1: First stream after the block.
            y2: Second stream after it.
            mask: As in `forward`.
            replays: What the branches f and g drew and chose; needed in training, where they draw.
        """
        f_replay, g_replay = replays or (Replay(), Replay())
        with torch.no_grad():
            x2 = y2 - self.g(y1, mask, g_replay)
            return y1 - self.f(x2, mask, f_replay), x2


Replays = tuple[Replay, Replay]
"""Of the branches f and g of one block."""


class ReversibleSequence(nn.Module):
    """Reversible blocks one after another.

    Args:
        blocks: The blocks.
        recompute: Whether training keeps the last streams alone and goes back from them, so that
            memory does not grow with the number of blocks, for about a third more time. The
            gradients are the same but for rounding.
    Source: Gomez et al. 2017, arXiv:1707.04585; Kitaev et al. 2020, arXiv:2001.04451.
    """

    def __init__(self, blocks: Iterable[ReversibleBlock], recompute: bool = True) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.recompute = recompute

    def forward(self, x1: Tensor, x2: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Maps the streams x1, x2 to y1, y2, [B, L, D] each; mask [B, L] as in a block."""
        if self.recompute and torch.is_grad_enabled():
            parameters = [p for p in self.parameters() if p.requires_grad]
            if parameters or x1.requires_grad or x2.requires_grad:
                return _Recompute.apply(self._blocks, mask, x1, x2, *parameters)  # pyright: ignore
        for block in self._blocks:
            x1, x2 = block(x1, x2, mask)
        return x1, x2

    def inverse(self, y1: Tensor, y2: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Returns the streams from which `forward` made y1, y2 in evaluation, without gradient."""
        for block in reversed(self._blocks):
            y1, y2 = block.inverse(y1, y2, mask)
        return y1, y2

    @property
    def _blocks(self) -> Sequence[ReversibleBlock]:
        return cast(Sequence[ReversibleBlock], self.blocks)


class _Recompute(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        blocks: Sequence[ReversibleBlock],
        mask: Tensor | None,
        x1: Tensor,
        x2: Tensor,
        *parameters: Tensor,
    ) -> tuple[Tensor, Tensor]:
        ctx.replays = []
        for block in blocks:
            f_replay, g_replay = Replay(), Replay()
            x1 = x1 + block.f(x2, mask, f_replay)
            x2 = x2 + block.g(x1, mask, g_replay)
            ctx.replays.append((f_replay, g_replay))
        ctx.blocks, ctx.parameters = blocks, parameters
        device = x1.device.type
        ctx.autocast = (device, torch.is_autocast_enabled(device), torch.get_autocast_dtype(device))
        ctx.save_for_backward(x1, x2, mask)
        return x1, x2

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, dy1: Tensor, dy2: Tensor
    ) -> tuple[Tensor | None, ...]:
        y1, y2, mask = ctx.saved_tensors
        device, enabled, dtype = ctx.autocast
        gradients: dict[Tensor, Tensor] = {}
        with torch.autocast(device, enabled=enabled, dtype=dtype):
            for block, (f_replay, g_replay) in zip(
                reversed(ctx.blocks), reversed(ctx.replays), strict=True
            ):
                own = [p for p in block.parameters() if p.requires_grad]
                branch, dx = _again(block.g, y1, mask, g_replay.play(), own, dy2, gradients)
                y2, dy1 = y2 - branch, dy1 + dx
                branch, dx = _again(block.f, y2, mask, f_replay.play(), own, dy1, gradients)
                y1, dy2 = y1 - branch, dy2 + dx
        return None, None, dy1, dy2, *(gradients.get(p) for p in ctx.parameters)


def _again(
    branch: Any,
    x: Tensor,
    mask: Tensor | None,
    replay: Replay,
    parameters: list[Tensor],
    grad: Tensor,
    gradients: dict[Tensor, Tensor],
) -> tuple[Tensor, Tensor]:
    """Runs a branch once more; returns its output and the gradient of its input.

    Gradients of parameters are added to `gradients`.
    """
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        out = branch(x, mask, replay)
    dx, *found = torch.autograd.grad(out, [x, *parameters], grad.to(out.dtype), allow_unused=True)
    for parameter, gradient in zip(parameters, found, strict=True):
        if gradient is not None:
            known = gradients.get(parameter)
            gradients[parameter] = gradient if known is None else known + gradient
    return out.detach(), torch.zeros_like(x) if dx is None else dx
