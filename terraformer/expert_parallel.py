"""Experts spread over processes: each holds some of them, and tokens travel to theirs and back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable


def apply_spread(
    experts: Callable[[Tensor, Tensor], Tensor],
    tokens: Tensor,
    n_tokens: Tensor,
    group: dist.ProcessGroup,
) -> Tensor:
    """Sends tokens to the processes that hold their experts, and brings the outputs back.

    All processes of the group must call it together, and together run its backward pass. Process
    r holds experts r * E / n … (r + 1) * E / n - 1 of n processes.

    Args:
        experts: Maps tokens [N, D], sorted by this process's experts, and how many each of those
            takes, int64, to [N, D].
        tokens: [N, D], sorted by expert.
        n_tokens: How many each expert takes, [E], int64.
        group: The processes.
    Returns:
        [N, D], in the order of `tokens`.
    Source: Lepikhin et al. 2020, arXiv:2006.16668 (GShard).
    Differs: the messages hold tokens alone, no padding up to the experts' capacity.
    """
    n_processes = dist.get_world_size(group)
    sent = n_tokens.view(n_processes, -1)  # to each process, for each of its experts
    received = torch.empty_like(sent)
    dist.all_to_all_single(received, sent.contiguous(), group=group)
    here, there = received.sum(dim=1).tolist(), sent.sum(dim=1).tolist()
    arrived = _Exchange.apply(tokens, here, there, group)
    expert = torch.arange(sent.shape[1], device=tokens.device).repeat(n_processes)
    order = expert.repeat_interleave(received.flatten()).argsort(stable=True)
    outputs = experts(arrived.index_select(0, order), received.sum(dim=0))
    outputs = torch.empty_like(outputs).index_copy(0, order, outputs)  # as they arrived
    return _Exchange.apply(outputs, there, here, group)  # pyright: ignore[reportReturnType]


class _Exchange(torch.autograd.Function):
    """All-to-all of rows, `n_received` and `n_sent` for each process; its gradient goes back."""

    @staticmethod
    def forward(
        ctx: Any,
        rows: Tensor,
        n_received: list[int],
        n_sent: list[int],
        group: dist.ProcessGroup,
    ) -> Tensor:
        ctx.n_received, ctx.n_sent, ctx.group = n_received, n_sent, group
        return _exchange(rows, n_received, n_sent, group)

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, grad: Tensor
    ) -> tuple[Tensor | None, ...]:
        return _exchange(grad, ctx.n_sent, ctx.n_received, ctx.group), None, None, None


def _exchange(
    rows: Tensor, n_received: list[int], n_sent: list[int], group: dist.ProcessGroup
) -> Tensor:
    received = rows.new_empty(sum(n_received), *rows.shape[1:])
    dist.all_to_all_single(received, rows.contiguous(), n_received, n_sent, group=group)
    return received
