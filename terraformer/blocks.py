"""Reversible blocks of attention, feed-forward and recurrence, and stacks of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, cast

from torch import Tensor, nn

from terraformer.attention import FullAttention, require_causal
from terraformer.config import (
    AttentionConfig,
    LSHAttentionConfig,
    StackConfig,
)
from terraformer.feed_forward import build_feed_forward, drop_features
from terraformer.lsh_attention import LSHAttention
from terraformer.replay import Replay
from terraformer.reversible import ReversibleBlock, ReversibleSequence
from terraformer.sru import SRUBranch


@dataclass
class BlockState:
    """What a step of a block needs of the positions so far; it changes in place.

    Attributes:
        attention: State of the attention layer.
        sru: Cell of each recurrent layer, [B, n_units], float32.
    """

    attention: Any = None
    sru: list[Tensor] | None = None


class Block(ReversibleBlock):
    """f is attention; g is feed-forward plus, where there is one, a recurrent branch.

    `causal` says whether positions see only those before them; the recurrence runs from left to
    right in either case.

    Args:
        config: Layers.
        d_model: Width of a stream, D.
        dropout: Rate at which, in training, whole features of a branch's output are dropped for all
            positions of an example.
        layer_norm_epsilon: Added to the variance.
    """

    causal: ClassVar[bool]

    def __init__(
        self,
        config: StackConfig,
        d_model: int,
        dropout: float = 0.0,
        layer_norm_epsilon: float = 1e-6,
    ) -> None:
        super().__init__()
        self.dropout = dropout
        self.attention_norm = nn.LayerNorm(d_model, eps=layer_norm_epsilon)
        self.attention = build_attention(config.attention, d_model, self.causal)
        self.feed_forward_norm = nn.LayerNorm(d_model, eps=layer_norm_epsilon)
        self.feed_forward = build_feed_forward(config.feed_forward, d_model, dropout)
        self.sru = None
        if config.sru is not None:
            self.sru = SRUBranch(config.sru, d_model, layer_norm_epsilon)

    def f(self, x2: Tensor, mask: Tensor | None, replay: Replay) -> Tensor:
        """Attention, [B, L, D] → [B, L, D]."""
        return self._drop(self.attention(self.attention_norm(x2), mask, replay), replay)

    def g(self, y1: Tensor, mask: Tensor | None, replay: Replay) -> Tensor:
        """Feed-forward and recurrence, [B, L, D] → [B, L, D]."""
        out = self._drop(self.feed_forward(self.feed_forward_norm(y1), mask, replay), replay)
        return out if self.sru is None else out + self._drop(self.sru(y1, mask), replay)

    def _drop(self, x: Tensor, replay: Replay) -> Tensor:
        return drop_features(x, self.dropout, replay) if self.training and self.dropout else x


class EncoderBlock(Block):
    """A block in which all positions see one another."""

    causal = False


class DecoderBlock(Block):
    """A causal block, which can also run position by position."""

    causal = True

    def prefill(self, x1: Tensor, x2: Tensor) -> tuple[Tensor, Tensor, BlockState]:
        """Runs streams [B, L, D] without padding; from the state, `step` goes on."""
        out, attention = self.attention.prefill(self.attention_norm(x2))
        y1 = x1 + out
        out, cells = self.feed_forward(self.feed_forward_norm(y1)), None
        if self.sru is not None:
            branch, cells = self.sru.prefill(y1)
            out = out + branch
        return y1, x2 + out, BlockState(attention, cells)

    def step(
        self, x1_t: Tensor, x2_t: Tensor, state: BlockState | None = None
    ) -> tuple[Tensor, Tensor, BlockState]:
        """Runs one position of the streams, [B, D] each, in evaluation.

        Args:
            x1_t: First stream at this position.
            x2_t: Second stream.
            state: Positions before it; none if None.
        Returns:
            y1_t, y2_t and the state with this position.
        """
        state = state or BlockState()
        out, attention = self.attention.step(self.attention_norm(x2_t), state.attention)
        y1 = x1_t + out
        out, cells = self.feed_forward.step(self.feed_forward_norm(y1)), None
        if self.sru is not None:
            branch, cells = self.sru.step(y1, state.sru)
            out = out + branch
        return y1, x2_t + out, BlockState(attention, cells)


StackState = list[BlockState]
"""States of the blocks of a stack."""


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
        block = DecoderBlock if causal else EncoderBlock
        self.causal = causal
        self.sequence = ReversibleSequence(
            (block(config, d_model, dropout, layer_norm_epsilon) for _ in range(config.n_layers)),
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
        y1, y2 = self.sequence(x, x, mask)
        return (y1 + y2) / 2

    def prefill(self, x: Tensor) -> tuple[Tensor, StackState]:
        """Runs whole sequences without padding in evaluation, from which `step` goes on.

        Args:
            x: [B, L, D].
        Returns:
            [B, L, D], as of `forward`; the state after the last position.
        Raises:
            ValueError: if the stack is not causal.
        """
        y1, y2, states = x, x, []
        for block in self._decoder_blocks():
            y1, y2, state = block.prefill(y1, y2)
            states.append(state)
        return (y1 + y2) / 2, states

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
        y1, y2, states = x_t, x_t, []
        for i, block in enumerate(self._decoder_blocks()):
            y1, y2, after = block.step(y1, y2, None if state is None else state[i])
            states.append(after)
        return (y1 + y2) / 2, states

    def _decoder_blocks(self) -> list[DecoderBlock]:
        require_causal(self.causal)
        return [cast(DecoderBlock, block) for block in self.sequence.blocks]


def build_attention(
    config: AttentionConfig, d_model: int, causal: bool
) -> FullAttention | LSHAttention:
    """Returns the layer that belongs to the type of the config."""
    if isinstance(config, LSHAttentionConfig):
        return LSHAttention(config, d_model, causal)
    return FullAttention(config, d_model, causal)
