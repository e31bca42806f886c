"""Stacks with standard residuals: one stream, activations stored, attention to an encoder."""

from __future__ import annotations

from typing import Any, NamedTuple, cast

from torch import Tensor, nn

from terraformer.attention import require_causal
from terraformer.blocks import build_branches
from terraformer.branch import Branch, BranchOptions, CrossAttentionBranch
from terraformer.stack_config import StackConfig


class Memory(NamedTuple):
    """What an encoder hands to a decoder.

    Attributes:
        states: [B, M, D].
        mask: [B, M], True for real tokens; all are real if None.
    """

    states: Tensor
    mask: Tensor | None = None


class ResidualState(NamedTuple):
    """State of each block's branches, and of each block's attention to the encoder."""

    branches: list[list[Any]]
    cross: list[Any]


class ResidualBlock(nn.Module):
    """x + attention, + attention to the encoder where there is one, + feed-forward."""

    def __init__(self, config: StackConfig, layer: int, options: BranchOptions) -> None:
        super().__init__()
        self.branches = nn.ModuleList(build_branches(config, layer, options))
        self.cross = None
        if config.cross_attention is not None:
            self.cross = CrossAttentionBranch(config.cross_attention, options)

    def own(self) -> list[Branch]:
        """Returns the branches that look at the stream alone, feed-forward last."""
        return [cast(Branch, branch) for branch in self.branches]


class ResidualStack(nn.Module):
    """Blocks with standard residuals. There is no layer norm at the end.

    Args:
        config: Layers.
        d_model: Width, D.
        causal: Whether positions see only those before them.
        dropout: Rate on the outputs of branches in training.
        layer_norm_epsilon: Added to the variance.
    Raises:
        ValueError: if the config wants reversible residuals.
    Source: Vaswani et al. 2017, arXiv:1706.03762, with the norm before each branch.
    """

    def __init__(
        self,
        config: StackConfig,
        d_model: int,
        causal: bool,
        dropout: float = 0.0,
        layer_norm_epsilon: float = 1e-6,
    ) -> None:
        super().__init__()
        if config.residual != "standard":
            raise ValueError(f"residual ({config.residual}) must be standard in a ResidualStack")
        self.causal = causal
        options = BranchOptions(d_model, causal, dropout, layer_norm_epsilon)
        self.blocks = nn.ModuleList(
            ResidualBlock(config, layer, options) for layer in range(config.n_layers)
        )

    def forward(
        self, x: Tensor, mask: Tensor | None = None, memory: Memory | None = None
    ) -> Tensor:
        """Runs whole sequences.

        Args:
            x: [B, L, D].
            mask: [B, L], True for real tokens, wherever they stand; all are real if None.
            memory: What the decoder attends to; None where there is no encoder.
        Returns:
            [B, L, D]; what stands at padded positions has no meaning.
        Raises:
            ValueError: if blocks attend to an encoder and there is no memory.
        """
        for block in self._blocks:
            *attention, feed_forward = block.own()
            for branch in attention:
                x = x + branch(x, mask)
            if block.cross is not None:
                x = x + block.cross(x, *_required(memory))
            x = x + feed_forward(x, mask)
        return x

    def begin(self, memory: Memory | None = None) -> ResidualState:
        """Returns the state before the first position.

        Raises:
            ValueError: if the stack is not causal.
        """
        require_causal(self.causal)
        return ResidualState(
            [[None] * len(block.branches) for block in self._blocks],
            [
                block.cross.begin(*_required(memory))
                for block in self._blocks
                if block.cross is not None
            ],
        )

    def prefill(self, x: Tensor, memory: Memory | None = None) -> tuple[Tensor, ResidualState]:
        """Runs sequences [B, L, D] without padding in evaluation, from which `step` goes on."""
        state = self.begin(memory)
        for i, block in enumerate(self._blocks):
            *attention, feed_forward = block.own()
            for j, branch in enumerate(attention):
                added, state.branches[i][j] = branch.prefill(x)
                x = x + added
            if block.cross is not None:
                x = x + block.cross(x, *_required(memory))
            added, state.branches[i][-1] = feed_forward.prefill(x)
            x = x + added
        return x, state

    def step(self, x_t: Tensor, state: ResidualState | None = None) -> tuple[Tensor, ResidualState]:
        """Runs one position, [B, D], in evaluation; the state is changed in place."""
        state = state or self.begin()
        for i, block in enumerate(self._blocks):
            *attention, feed_forward = block.own()
            states = state.branches[i]
            for j, branch in enumerate(attention):
                added, states[j] = branch.step(x_t, states[j])
                x_t = x_t + added
            if block.cross is not None:
                x_t = x_t + block.cross.step(x_t, state.cross[i])
            added, states[-1] = feed_forward.step(x_t, states[-1])
            x_t = x_t + added
        return x_t, state

    @property
    def _blocks(self) -> list[ResidualBlock]:
        return [cast(ResidualBlock, block) for block in self.blocks]


def _required(memory: Memory | None) -> Memory:
    if memory is None:
        raise ValueError("cross_attention needs the memory of an encoder, got None")
    return memory
