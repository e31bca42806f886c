"""Running a function of single positions on a few of them at a time, which stores little."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

from terraformer.replay import Replay

NewFunction = Callable[[], Callable[[Tensor], Tensor]]
"""Returns the function of a chunk, which does the same whenever it runs."""


def in_chunks(
    new_function: NewFunction,
    x: Tensor,
    dim: int,
    chunk_len: int,
    parameters: Iterable[Tensor],
    replay: Replay | None = None,
) -> Tensor:
    """Maps x in chunks of `chunk_len` along `dim`, 0 for all at once.

    Of several chunks nothing is stored for the backward pass: each one's function runs again then.
    Where the gradient of the output is known, it runs once, and backwards at once.

    Args:
        new_function: Called for each chunk.
        x: What is cut.
        dim: Where it is cut; the outputs, as large as the chunks, are joined there.
        chunk_len: Length of a chunk.
        parameters: What the function depends on beside its chunk.
        replay: May know the gradient of the output, of as many numbers as x.
    """
    if chunk_len == 0 or x.shape[dim] <= chunk_len:
        return new_function()(x)
    chunks = x.split(chunk_len, dim)
    if not torch.is_grad_enabled():
        return torch.cat([new_function()(chunk) for chunk in chunks], dim)
    if replay is not None and replay.output_grad is not None:
        trained = [p for p in parameters if p.requires_grad]
        grad = replay.output_grad.reshape(x.shape)
        return cast(Tensor, _BackwardAtOnce.apply(new_function, dim, chunk_len, grad, x, *trained))
    return torch.cat(
        [
            checkpoint(new_function(), chunk, use_reentrant=False, preserve_rng_state=False)
            for chunk in chunks
        ],
        dim,
    )


class _BackwardAtOnce(torch.autograd.Function):
    """Runs chunks forwards and backwards, one after another, as their gradient is known."""

    @staticmethod
    def forward(
        ctx: Any,
        new_function: NewFunction,
        dim: int,
        chunk_len: int,
        grad: Tensor,
        x: Tensor,
        *parameters: Tensor,
    ) -> Tensor:
        parts: list[Tensor] = []
        dx = torch.empty_like(x)
        totals: list[Tensor | None] = [None] * len(parameters)
        chunks = (item.split(chunk_len, dim) for item in (x, grad, dx))
        for chunk, chunk_grad, chunk_dx in zip(*chunks, strict=True):
            with torch.enable_grad():
                chunk = chunk.detach().requires_grad_()
                out = new_function()(chunk)
            own, *found = torch.autograd.grad(
                out, [chunk, *parameters], chunk_grad.to(out.dtype), allow_unused=True
            )
            parts.append(out.detach())
            chunk_dx.copy_(own)
            for i, gradient in enumerate(found):
                total = totals[i]
                totals[i] = gradient if total is None or gradient is None else total + gradient
        ctx.save_for_backward(dx, *totals)
        return torch.cat(parts, dim)

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, _: Tensor
    ) -> tuple[Tensor | None, ...]:
        return None, None, None, None, *ctx.saved_tensors
