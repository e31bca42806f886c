"""Stacks of blocks: attention, then feed-forward and recurrence, on reversible streams."""

from __future__ import annotations

from typing import Any, cast

from torch import Tensor, nn

from terraformer.attention import require_causal
from terraformer.branch import AttentionBranch, Branch, BranchOptions, FeedForwardBranch
from terraformer.reversible import ReversibleBlock, ReversibleSequence, Streams
from terraformer.stack_config import StackConfig

StackState = list[list[Any]]
"""State of each branch of each block; a step changes it in place."""


class Stack(nn.Module):
    """Reversible blocks between one stream in and one stream out.

    Both streams start as the input, the output is their mean. There is no layer norm at the end.

    Args:
        config: Layers.
        d_model: Width, D.
        causal: Whether positions see only those before them.
        dropout: Rate on the outputs of branches in training.
        layer_norm_epsilon: Added to the variance.
        recompute: Whether training recomputes activations rather than storing them.
    Raises:
        ValueError: if the config wants standard residuals.
    """

    def __init__(
        self,
        config: StackConfig,
        d_model: int,
        causal: bool,
        dropout: float = 0.0,
        layer_norm_epsilon: float = 1e-6,
        recompute: bool = True,
    ) -> None:
        super().__init__()
        if config.residual != "reversible":
            raise ValueError(f"residual ({config.residual}) must be reversible in a Stack")
        self.causal = causal
        options = BranchOptions(d_model, causal, dropout, layer_norm_epsilon)
        self.sequence = ReversibleSequence(
            (
                ReversibleBlock(build_branches(config, layer, options), config.swap_last)
                for layer in range(config.n_layers)
            ),
            recompute,
        )

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Runs whole sequences.

        Args:
            x: [B, L, D].
            mask: [B, L], True for real tokens, wherever they stand; all are real if None.
        Returns:
            [B, L, D]; what stands at padded positions has no meaning.
        """
        return mean(self.streams(x, x, mask))

    def streams(self, x1: Tensor, x2: Tensor, mask: Tensor | None = None) -> Streams:
        """As `forward`, from two streams to two, [B, L, D] each."""
        return self.sequence(x1, x2, mask)

    def prefill(self, x: Tensor) -> tuple[Tensor, StackState]:
        """Runs whole sequences without padding in evaluation, from which `step` goes on.

        Args:
            x: [B, L, D].
        Returns:
            [B, L, D], as of `forward`; the state after the last position.
        Raises:
            ValueError: if the stack is not causal.
        """
        streams, state = self.prefill_streams(x, x)
        return mean(streams), state

    def prefill_streams(self, x1: Tensor, x2: Tensor) -> tuple[Streams, StackState]:
        """As `prefill`, from two streams to two, [B, L, D] each."""
        require_causal(self.causal)
        states: StackState = []
        for block in self._blocks:
            states.append([])
            for branch, swap in block.steps():
                added, state = branch.prefill(x2)
                states[-1].append(state)
                x1 = x1 + added
                if swap:
                    x1, x2 = x2, x1
        return (x1, x2), states

    def step(self, x_t: Tensor, state: StackState | None = None) -> tuple[Tensor, StackState]:
        """Runs one position in evaluation.

        Args:
            x_t: [B, D].
            state: Positions before it; none if None. It is changed in place.
        Returns:
            [B, D]; the state with this position.
        Raises:
            ValueError: if the stack is not causal.
        """
        streams, state = self.step_streams(x_t, x_t, state)
        return mean(streams), state

    def step_streams(
        self, x1_t: Tensor, x2_t: Tensor, state: StackState | None = None
    ) -> tuple[Streams, StackState]:
        """As `step`, from two streams to two, [B, D] each."""
        require_causal(self.causal)
        if state is None:
            state = [[None] * len(block.branches) for block in self._blocks]
        for block, states in zip(self._blocks, state, strict=True):
            for i, (branch, swap) in enumerate(block.steps()):
                added, states[i] = branch.step(x2_t, states[i])
                x1_t = x1_t + added
                if swap:
                    x1_t, x2_t = x2_t, x1_t
        return (x1_t, x2_t), state

    @property
    def _blocks(self) -> list[ReversibleBlock]:
        return [cast(ReversibleBlock, block) for block in self.sequence.blocks]


def build_branches(config: StackConfig, layer: int, options: BranchOptions) -> list[Branch]:
    """Returns the branches of block `layer`: its attention layers, then feed-forward."""
    attention = config.attention_of(layer)
    branches: list[Branch] = [
        AttentionBranch(attention, options) for _ in range(config.n_attention)
    ]
    branches.append(FeedForwardBranch(config.feed_forward_of(layer), config.sru, options))
    return branches


def mean(streams: Streams) -> Tensor:
    """Returns the mean of two streams."""
    return (streams[0] + streams[1]) / 2
