"""The experts of a Switch layer, whole in one process or spread over several."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn

from kernels import ops
from terraformer.expert_parallel import apply_spread
from terraformer.replay import Replay


class Experts(nn.Module):
    """Dense feed-forward layers with ReLU, of which each token takes one.

    The first axis of every parameter is the expert, so that a process holds a slice of it.

    Args:
        n_experts: Experts of all processes together, E.
        d_model: Width of the input and the output, D.
        d_ff: Units of an expert, F.
        dropout: Rate on the units in training.
        init_scale: s of the initial weights, drawn from a normal distribution of standard deviation
            sqrt(s / fan_in), cut off at two of them.
        group: Processes that hold E / n experts each; None holds all in this one.
    Raises:
        ValueError: if the processes cannot hold equally many experts.
    Source: Fedus et al. 2021, arXiv:2101.03961, sections 2.2 and 2.4.
    Differs: the experts have biases, as the dense layer has.
    """

    def __init__(
        self,
        n_experts: int,
        d_model: int,
        d_ff: int,
        dropout: float = 0.0,
        init_scale: float = 0.1,
        group: dist.ProcessGroup | None = None,
    ) -> None:
        super().__init__()
        self.dropout = dropout
        self.group = group
        n_own = n_experts
        if group is not None:
            n_own = _n_experts_of_a_shard(n_experts, dist.get_world_size(group))
        self.w1 = nn.Parameter(torch.empty(n_own, d_ff, d_model))
        self.b1 = nn.Parameter(torch.empty(n_own, d_ff))
        self.w2 = nn.Parameter(torch.empty(n_own, d_model, d_ff))
        self.b2 = nn.Parameter(torch.empty(n_own, d_model))
        for weight in (self.w1, self.w2):
            init_scaled(weight, init_scale)
        for bias in (self.b1, self.b2):
            nn.init.normal_(bias, std=1e-6)

    def forward(self, tokens: Tensor, n_tokens: Tensor, replay: Replay) -> Tensor:
        """Maps each token by its expert.

        Args:
            tokens: [N, D], sorted by expert.
            n_tokens: How many each of the E experts takes, [E], int64.
            replay: Records the dropout.
        Returns:
            [N, D].
        """
        if self.group is None:
            return self._apply_own(tokens, n_tokens, replay)
        return apply_spread(
            lambda arrived, counts: self._apply_own(arrived, counts, replay),
            tokens,
            n_tokens,
            self.group,
        )

    def _apply_own(self, tokens: Tensor, n_tokens: Tensor, replay: Replay) -> Tensor:
        kept = None
        if self.training and self.dropout:
            shape = len(tokens), self.w1.shape[1]
            with replay.same_random(tokens.device):
                kept = torch.rand(shape, device=tokens.device) >= self.dropout
        weights = self.w1, self.b1, self.w2, self.b2
        return ops.expert_feed_forward(tokens, n_tokens, *weights, kept=kept, dropout=self.dropout)


def init_scaled(weight: Tensor, scale: float) -> None:
    """Fills weight [..., fan_in] from a normal distribution, cut off at two standard deviations.

    The standard deviation, before the cut, is sqrt(scale / fan_in).
    """
    std = math.sqrt(scale / weight.shape[-1])
    nn.init.trunc_normal_(weight, std=std, a=-2 * std, b=2 * std)


def spread_experts(model: nn.Module, group: dist.ProcessGroup) -> None:
    """Leaves in a model, the same in all processes, only this process's share of the experts.

    Raises:
        ValueError: if the processes cannot hold equally many experts.
    """
    n_processes, rank = dist.get_world_size(group), dist.get_rank(group)
    for module in model.modules():
        if isinstance(module, Experts) and module.group is None:
            for name, whole in list(module.named_parameters()):
                part = _part(whole.detach(), rank, n_processes).clone()
                setattr(module, name, nn.Parameter(part, whole.requires_grad))
            module.group = group


def shard_experts(state: Mapping[str, Tensor], rank: int, n_processes: int) -> dict[str, Tensor]:
    """Returns what process `rank` of `n_processes` loads of the state of a whole model.

    Raises:
        ValueError: if the processes cannot hold equally many experts.
    """
    return {
        name: _part(item, rank, n_processes) if _is_of_experts(name) else item
        for name, item in state.items()
    }


def join_experts(states: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Returns the state of a whole model, of those of all its processes in their order."""
    return {
        name: torch.cat([state[name] for state in states]) if _is_of_experts(name) else item
        for name, item in states[0].items()
    }


def average_gradients(model: nn.Module, group: dist.ProcessGroup) -> None:
    """Turns gradients of each process's loss into those of the mean of the losses.

    Spread experts have the gradients of all processes' losses already, added up.
    """
    n_processes = dist.get_world_size(group)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            if not _is_of_experts(name):
                dist.all_reduce(parameter.grad, group=group)
            parameter.grad /= n_processes


def _is_of_experts(name: str) -> bool:
    return "experts" in name.split(".")


def _part(whole: Tensor, rank: int, n_processes: int) -> Tensor:
    n_own = _n_experts_of_a_shard(whole.shape[0], n_processes)
    return whole[rank * n_own : (rank + 1) * n_own]


def _n_experts_of_a_shard(n_experts: int, n_processes: int) -> int:
    if n_experts % n_processes:
        raise ValueError(f"n_experts ({n_experts}) must be divisible by processes ({n_processes})")
    return n_experts // n_processes
