"""Configurations of a stack of blocks, of its recurrent branch and of the loss layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from terraformer.attention_config import AttentionConfig, CrossAttentionConfig
from terraformer.feed_forward_config import FeedForwardConfig


@dataclass(frozen=True)
class SRUConfig:
    """Recurrent branch beside the feed-forward: d_model → n_units → SRU layers → d_model."""

    n_layers: int = 1
    n_units: int = 32


@dataclass(frozen=True)
class StackConfig:
    """A stack of blocks, each attention, then feed-forward with its SRU branch.

    Attributes:
        n_layers: Blocks.
        attention: The attention layer of a block; several alternate from block to block.
        feed_forward: The feed-forward layer of a block; several alternate from block to block.
        sru: Recurrent branch beside the feed-forward.
        n_attention: Attention layers of a block, one after another.
        cross_attention: Attention to an encoder, after the others; standard residuals only.
        residual: "reversible" for two streams, whose activations need not be stored, "standard" for
            one.
        swap_last: Whether the streams change places after the last branch of a block, as after all
            others.
    """

    n_layers: int
    attention: AttentionConfig | tuple[AttentionConfig, ...]
    feed_forward: FeedForwardConfig | tuple[FeedForwardConfig, ...]
    sru: SRUConfig | None = None
    n_attention: int = 1
    cross_attention: CrossAttentionConfig | None = None
    residual: Literal["reversible", "standard"] = "reversible"
    swap_last: bool = True

    def __post_init__(self) -> None:
        if self.cross_attention is not None and self.residual == "reversible":
            raise ValueError("cross_attention needs residual='standard', not 'reversible'")
        if self.n_attention < 1:
            raise ValueError(f"n_attention ({self.n_attention}) must be at least 1")
        for name in ("attention", "feed_forward"):
            if getattr(self, name) == ():
                raise ValueError(f"{name} must be one config, or several, not none")

    def attention_of(self, layer: int) -> AttentionConfig:
        """Returns the attention of block `layer`, counted from 0."""
        several = self.attention
        return several[layer % len(several)] if isinstance(several, tuple) else several

    def feed_forward_of(self, layer: int) -> FeedForwardConfig:
        """Returns the feed-forward of block `layer`, counted from 0."""
        several = self.feed_forward
        return several[layer % len(several)] if isinstance(several, tuple) else several

    @property
    def attentions(self) -> tuple[AttentionConfig, ...]:
        """The attention of each block."""
        return tuple(self.attention_of(layer) for layer in range(self.n_layers))

    @property
    def feed_forwards(self) -> tuple[FeedForwardConfig, ...]:
        """The feed-forward of each block."""
        return tuple(self.feed_forward_of(layer) for layer in range(self.n_layers))


@dataclass(frozen=True)
class DenseHeadConfig:
    """Dense loss layer: d_model → vocab_size."""


@dataclass(frozen=True)
class SparseHeadConfig:
    """Sparse loss layer: a multiplicative projection to the vocabulary.

    Attributes:
        n_modules: Modules, S; vocab_size is a multiple of it.
    """

    n_modules: int = 4


@dataclass(frozen=True)
class LowRankHeadConfig:
    """Loss layer through a bottleneck: d_model → d_lowrank → vocab_size."""

    d_lowrank: int = 64


VocabularyHeadConfig = DenseHeadConfig | SparseHeadConfig | LowRankHeadConfig


@dataclass(frozen=True)
class CopyConfig:
    """A path beside the loss layer by which tokens of the source are copied.

    Attributes:
        d_key: Width of its queries and keys.
        run_len: Most tokens before a place of the source that are held against those written last;
            0 leaves the place to attention alone.
    """

    d_key: int = 64
    run_len: int = 0
