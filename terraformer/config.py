"""The model's configuration: frozen, nested, and the same after a trip through JSON."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class DenseFFConfig:
    """Dense feed-forward: d_model → d_ff → d_model with ReLU."""

    d_ff: int = 512


@dataclass(frozen=True)
class SparseFFConfig:
    """Sparse feed-forward: a low-rank controller keeps one unit in each block of `block_size`.

    Attributes:
        d_ff: Units, F.
        block_size: Units in a block, N, of which one is active.
        d_lowrank: Width of the controller's bottleneck.
        temperature: Scale of the Gumbel noise in training.
        quant_prob: Share of training calls that use the hard mask (straight-through).
        chunk_len: Tokens computed at once, 0 for all.
    """

    d_ff: int = 512
    block_size: int = 16
    d_lowrank: int = 32
    temperature: float = 0.1
    quant_prob: float = 0.3
    chunk_len: int = 0

    def __post_init__(self) -> None:
        if self.d_ff % self.block_size:
            raise ValueError(
                f"d_ff ({self.d_ff}) must be divisible by "
                f"feed_forward.block_size ({self.block_size})"
            )


FeedForwardConfig = DenseFFConfig | SparseFFConfig


@dataclass(frozen=True)
class SRUConfig:
    """Recurrent branch beside the feed-forward: d_model → n_units → SRU layers → d_model."""

    n_layers: int = 1
    n_units: int = 32


@dataclass(frozen=True)
class FullAttentionConfig:
    """Softmax attention over all positions, with separate queries, keys and values."""

    n_heads: int = 4


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
    """

    n_heads: int = 4
    n_hashes: int = 1
    chunk_len: int = 64
    n_chunks_before: int = 1
    n_chunks_after: int = 1
    n_buckets: int | None = None
    seed: int = 0


AttentionConfig = FullAttentionConfig | LSHAttentionConfig


@dataclass(frozen=True)
class StackConfig:
    """A stack of reversible blocks, each attention, then feed-forward with its SRU branch."""

    n_layers: int
    attention: AttentionConfig
    feed_forward: FeedForwardConfig
    sru: SRUConfig | None = None


@dataclass(frozen=True)
class PickingConfig:
    """How sentences are picked from the pointer's probabilities; tuned on validation.

    Attributes:
        stop_threshold: Probability of the stop at which a summary of normal length ends.
        redundancy_penalty: Taken from a sentence's logit for each unit of its largest tf-idf cosine
            with a picked sentence.
        max_picks: Most sentences of a summary of normal length.
    """

    stop_threshold: float = 0.1
    redundancy_penalty: float = 0.0
    max_picks: int = 24


@dataclass(frozen=True)
class TerraformerConfig:
    """A Terraformer that picks sentences.

    Attributes:
        vocab_size: Pieces of the tokenizer.
        d_token: Width of the token states: most of the work is done on them.
        d_model: Width of the states of sentences and picks, D.
        n_features: Features given to a sentence state beside its tokens.
        token_encoder: Over the tokens of the document, both directions.
        sentence_encoder: Over the sentence states, both directions.
        decoder: Over [sentence states ‖ picked sentences], causal.
        picking: How picks are made of the pointer's probabilities.
        dropout: Rate on branches of the residual streams in training.
        layer_norm_epsilon: Added to the variance.
    """

    vocab_size: int = 24576
    d_token: int = 96
    d_model: int = 128
    n_features: int = 78
    token_encoder: StackConfig = field(
        default_factory=lambda: StackConfig(
            n_layers=1,
            attention=LSHAttentionConfig(n_heads=2, chunk_len=32),
            feed_forward=SparseFFConfig(d_ff=192, block_size=8, d_lowrank=16),
            sru=SRUConfig(),
        )
    )
    sentence_encoder: StackConfig = field(
        default_factory=lambda: StackConfig(
            n_layers=2,
            attention=LSHAttentionConfig(chunk_len=256),
            feed_forward=SparseFFConfig(d_ff=256, block_size=8, d_lowrank=16),
            sru=SRUConfig(),
        )
    )
    decoder: StackConfig = field(
        default_factory=lambda: StackConfig(
            n_layers=1,
            attention=FullAttentionConfig(),
            feed_forward=SparseFFConfig(d_ff=256, block_size=8, d_lowrank=16),
            sru=SRUConfig(),
        )
    )
    picking: PickingConfig = field(default_factory=PickingConfig)
    dropout: float = 0.1
    layer_norm_epsilon: float = 1e-6

    def __post_init__(self) -> None:
        for width, stacks in (
            ("d_token", ("token_encoder",)),
            ("d_model", ("sentence_encoder", "decoder")),
        ):
            for name in stacks:
                n_heads = getattr(self, name).attention.n_heads
                if getattr(self, width) % n_heads:
                    raise ValueError(
                        f"{width} ({getattr(self, width)}) must be divisible by "
                        f"{name}.attention.n_heads ({n_heads})"
                    )

    def to_dict(self) -> dict[str, Any]:
        """Returns a JSON-able dictionary; nested configs carry their type's name in "type"."""
        return _to_dict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TerraformerConfig:
        """Inverse of `to_dict`.

        Raises:
            ValueError: on an unknown field or type, naming it.
        """
        config = _from_dict({"type": cls.__name__, **values})
        if not isinstance(config, cls):
            raise ValueError(f"expected a {cls.__name__}, got a {type(config).__name__}")
        return config


_TYPES: dict[str, type] = {
    cls.__name__: cls
    for cls in (
        DenseFFConfig,
        SparseFFConfig,
        SRUConfig,
        FullAttentionConfig,
        LSHAttentionConfig,
        StackConfig,
        PickingConfig,
        TerraformerConfig,
    )
}


def _to_dict(config: Any) -> dict[str, Any]:
    values: dict[str, Any] = {"type": type(config).__name__}
    for item in dataclasses.fields(config):
        value = getattr(config, item.name)
        values[item.name] = _to_dict(value) if dataclasses.is_dataclass(value) else value
    return values


def _from_dict(values: dict[str, Any]) -> Any:
    name = values.get("type")
    if name not in _TYPES:
        raise ValueError(f"unknown config type {name!r}; known: {', '.join(_TYPES)}")
    known = {item.name for item in dataclasses.fields(_TYPES[name])}
    unknown = set(values) - known - {"type"}
    if unknown:
        raise ValueError(f"unknown fields of {name}: {', '.join(sorted(unknown))}")
    return _TYPES[name](
        **{
            key: _from_dict(value) if isinstance(value, dict) and "type" in value else value
            for key, value in values.items()
            if key != "type"
        }
    )
