"""Configurations of attention and its projections; the types choose the layers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class DenseQKVConfig:
    """Dense projections to queries, keys and values, and one back.

    Attributes:
        share_qk: Whether one projection makes both queries and keys.
        bias: Whether the projections have biases.
    """

    share_qk: bool = False
    bias: bool = True


@dataclass(frozen=True)
class MultiplicativeQKVConfig:
    """Four multiplicative projections: queries, keys, values and back.

    Attributes:
        n_modules: Modules of a projection, S.
    """

    n_modules: int = 4


@dataclass(frozen=True)
class ModularQKVConfig:
    """Four multiplicative modular projections: queries, keys, values and back.

    Attributes:
        n_modules: Modules of a projection, S.
    """

    n_modules: int = 4


@dataclass(frozen=True)
class ConvolutionalQKVConfig:
    """One multiplicative layer for all, then convolutions over modules and length.

    The length is looked back at only, so the projections are causal.

    Attributes:
        n_modules: Modules, S; it need not be the number of heads.
        kernel_size: Modules under the kernels of queries and keys, odd; values have 1.
        length_kernel_size: Positions under all kernels, the present one and those before it.
        share_qk: Whether one convolution makes both queries and keys.
        value_input: What values are made of: "mixed" is the multiplicative layer's output; "both"
            is that beside the input, module by module; "joined" is both joined end to end, then
            cut into modules (the published "original").
        output: The layer after attention: "none", "multiplicative", "convolutional" or "both".
    """

    n_modules: int = 4
    kernel_size: int = 3
    length_kernel_size: int = 3
    share_qk: bool = False
    value_input: Literal["mixed", "both", "joined"] = "mixed"
    output: Literal["none", "multiplicative", "convolutional", "both"] = "none"

    def __post_init__(self) -> None:
        if self.kernel_size % 2 == 0:
            raise ValueError(f"kernel_size ({self.kernel_size}) must be odd")


QKVConfig = DenseQKVConfig | MultiplicativeQKVConfig | ModularQKVConfig | ConvolutionalQKVConfig


@dataclass(frozen=True)
class FullAttentionConfig:
    """Softmax attention over all positions.

    Where queries and keys are shared, keys are scaled to unit length and a position attends to
    itself only if it has no other: the exact twin of LSH attention in one chunk.

    Attributes:
        n_heads: Heads, H.
        qkv: The projections.
        rotary: Whether queries and keys are rotated by their position.
        dropout: Rate on attention weights in training.
    """

    n_heads: int = 4
    qkv: QKVConfig = field(default_factory=DenseQKVConfig)
    rotary: bool = False
    dropout: float = 0.0


@dataclass(frozen=True)
class LocalAttentionConfig:
    """Softmax attention within a chunk and its neighbours; shared queries and keys as in full.

    Attributes:
        n_heads: Heads, H.
        chunk_len: Length of a chunk.
        n_chunks_before, n_chunks_after: Neighbour chunks attended to; a causal layer takes none
            after.
        qkv: The projections.
        rotary: Whether queries and keys are rotated by their position.
        dropout: Rate on attention weights in training.
    """

    n_heads: int = 4
    chunk_len: int = 64
    n_chunks_before: int = 1
    n_chunks_after: int = 1
    qkv: QKVConfig = field(default_factory=DenseQKVConfig)
    rotary: bool = False
    dropout: float = 0.0

    def __post_init__(self) -> None:
        _check_chunks(self)


@dataclass(frozen=True)
class LSHAttentionConfig:
    """Shared query-key attention within hash buckets.

    Attributes:
        n_heads: Heads, H.
        n_hashes: Hash rounds, R.
        chunk_len: Length of the chunks of the bucket-sorted sequence.
        n_chunks_before, n_chunks_after: Neighbour chunks attended to; a causal layer takes none
            after.
        n_buckets: Buckets of a round; None chooses 2 * max(1, L // chunk_len).
        seed: Seed of the rotations, so that the same document gives the same buckets.
        qkv: The projections; where they make queries and keys apart, both are their mean.
        rotary: Whether queries and keys are rotated by their position.
        dropout: Rate on attention weights in training.
    """

    n_heads: int = 4
    n_hashes: int = 1
    chunk_len: int = 64
    n_chunks_before: int = 1
    n_chunks_after: int = 1
    n_buckets: int | None = None
    seed: int = 0
    qkv: QKVConfig = field(default_factory=lambda: DenseQKVConfig(share_qk=True, bias=False))
    rotary: bool = False
    dropout: float = 0.0

    def __post_init__(self) -> None:
        _check_chunks(self)


AttentionConfig = FullAttentionConfig | LocalAttentionConfig | LSHAttentionConfig


@dataclass(frozen=True)
class CrossAttentionConfig:
    """Softmax attention from the decoder's positions to the encoder's.

    Attributes:
        n_heads: Heads, H.
        n_modules: Modules of multiplicative queries and output; 0 makes both dense.
        dropout: Rate on attention weights in training.
    """

    n_heads: int = 4
    n_modules: int = 0
    dropout: float = 0.0


def _check_chunks(config: LocalAttentionConfig | LSHAttentionConfig) -> None:
    if config.chunk_len < 1:
        raise ValueError(f"chunk_len ({config.chunk_len}) must be at least 1")
    for name in ("n_chunks_before", "n_chunks_after"):
        if getattr(config, name) < 0:
            raise ValueError(f"{name} ({getattr(config, name)}) must not be negative")
