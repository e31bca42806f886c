"""Reversible residual streams: activations are computed anew from the outputs, not stored."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from terraformer.branch import Branch
from terraformer.replay import Replay

Streams = tuple[Tensor, Tensor]
"""Both residual streams, [B, L, D] each."""


class ReversibleBlock(nn.Module):
    """Branches that read one of two streams and add to the other, changing places after each.

    With two branches f and g: y1 = x1 + f(x2), y2 = x2 + g(y1). After an odd number of branches the
    streams leave in the other order.

    Args:
        branches: The branches, in order.
        swap_last: Whether the streams change places after the last branch too.
    """

    def __init__(self, branches: Iterable[Branch], swap_last: bool = True) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)
        self.swap_last = swap_last

    def steps(self) -> list[tuple[Branch, bool]]:
        """Returns each branch, and whether the streams change places after it."""
        branches = cast(Sequence[Branch], self.branches)
        last = len(branches) - 1
        return [(branch, i < last or self.swap_last) for i, branch in enumerate(branches)]

    def forward(
        self,
        x1: Tensor,
        x2: Tensor,
        mask: Tensor | None = None,
        replays: Sequence[Replay] | None = None,
    ) -> Streams:
        """Maps the streams, [B, L, D] each.

        Args:
            x1: First stream.
            x2: Second stream.
            mask: [B, L], True for real tokens; all are real if None.
            replays: One a branch, recording what it draws and chooses.
        Returns:
            y1, y2.
        """
        for i, (branch, swap) in enumerate(self.steps()):
            x1 = x1 + branch(x2, mask, None if replays is None else replays[i])
            if swap:
                x1, x2 = x2, x1
        return x1, x2

    def inverse(
        self,
        y1: Tensor,
        y2: Tensor,
        mask: Tensor | None = None,
        replays: Sequence[Replay] | None = None,
    ) -> Streams:
        """Returns the streams x1, x2 from which `forward` made y1, y2, without gradient.

        Args:
            y1: First stream after the block.
            y2: Second stream after it.
            mask: As in `forward`.
            replays: What each branch drew and chose; needed in training, where they draw.
        """
        with torch.no_grad():
            for i, (branch, swap) in reversed(list(enumerate(self.steps()))):
                if swap:
                    y1, y2 = y2, y1
                y1 = y1 - branch(y2, mask, None if replays is None else replays[i])
        return y1, y2


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

    def forward(self, x1: Tensor, x2: Tensor, mask: Tensor | None = None) -> Streams:
        """Maps the streams x1, x2 to y1, y2, [B, L, D] each; mask [B, L] as in a block."""
        recompute = self.recompute and torch.is_grad_enabled()
        tape: list[Streams] = []
        for i, block in enumerate(self._blocks):
            if recompute:
                is_last = i == len(self.blocks) - 1
                parameters = [p for p in block.parameters() if p.requires_grad]
                x1, x2 = cast(
                    Streams, _Recompute.apply(block, tape, is_last, mask, x1, x2, *parameters)
                )
            else:
                x1, x2 = block(x1, x2, mask)
        return x1, x2

    def inverse(self, y1: Tensor, y2: Tensor, mask: Tensor | None = None) -> Streams:
        """Returns the streams from which `forward` made y1, y2 in evaluation, without gradient."""
        for block in reversed(self._blocks):
            y1, y2 = block.inverse(y1, y2, mask)
        return y1, y2

    @property
    def _blocks(self) -> Sequence[ReversibleBlock]:
        return cast(Sequence[ReversibleBlock], self.blocks)


class _Recompute(torch.autograd.Function):
    """One block of a sequence, each a node of the graph: its gradients are freed before the next.

    Only the last one keeps its outputs. In the backward pass every node leaves its inputs on the
    tape, which are the outputs of the one before.
    """

    @staticmethod
    def forward(
        ctx: Any,
        block: ReversibleBlock,
        tape: list[Streams],
        is_last: bool,
        mask: Tensor | None,
        x1: Tensor,
        x2: Tensor,
        *parameters: Tensor,
    ) -> Streams:
        ctx.block, ctx.tape, ctx.parameters = block, tape, parameters
        ctx.replays = [Replay() for _ in block.branches]
        device = x1.device.type
        ctx.autocast = (device, torch.is_autocast_enabled(device), torch.get_autocast_dtype(device))
        y1, y2 = block(x1, x2, mask, ctx.replays)
        ctx.save_for_backward(mask, *((y1, y2) if is_last else ()))
        return y1, y2

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, dy1: Tensor, dy2: Tensor
    ) -> tuple[Tensor | None, ...]:
        mask, *outputs = ctx.saved_tensors
        y1, y2 = outputs or ctx.tape.pop()
        device, enabled, dtype = ctx.autocast
        gradients: dict[Tensor, Tensor] = {}
        steps = zip(ctx.block.steps(), ctx.replays, strict=True)
        with torch.autocast(device, enabled=enabled, dtype=dtype):
            for (branch, swap), replay in reversed(list(steps)):
                if swap:
                    y1, y2, dy1, dy2 = y2, y1, dy2, dy1
                added, dx = _again(branch, y2, mask, replay, dy1, gradients)
                y1, dy2 = y1 - added, dy2 + dx
        ctx.tape[:] = [(y1, y2)]
        return None, None, None, None, dy1, dy2, *(gradients.get(p) for p in ctx.parameters)


def _again(
    branch: Branch,
    x: Tensor,
    mask: Tensor | None,
    replay: Replay,
    grad: Tensor,
    gradients: dict[Tensor, Tensor],
) -> Streams:
    """Runs a branch once more; returns its output and the gradient of its input.

    Gradients of parameters are added to `gradients`.
    """
    parameters = [p for p in branch.parameters() if p.requires_grad]
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        out = branch(x, mask, replay.play(grad))
    replay.output_grad = None
    dx, *found = torch.autograd.grad(out, [x, *parameters], grad.to(out.dtype), allow_unused=True)
    for parameter, gradient in zip(parameters, found, strict=True):
        if gradient is not None:
            known = gradients.get(parameter)
            gradients[parameter] = gradient if known is None else known + gradient
    return out.detach(), torch.zeros_like(x) if dx is None else dx
