"""The most memory that a stack takes at once in evaluation: states, and its kernels' workspace."""

from __future__ import annotations

from typing import NamedTuple

import torch

from kernels.workspace import workspace_bytes
from terraformer.attention_config import (
    AttentionConfig,
    ConvolutionalQKVConfig,
    LocalAttentionConfig,
    LSHAttentionConfig,
    MultiplicativeQKVConfig,
)
from terraformer.feed_forward_config import FeedForwardConfig, SparseFFConfig, SwitchFFConfig
from terraformer.lsh_attention import factor_buckets
from terraformer.stack_config import SRUConfig, StackConfig

FLOAT = 4
"""Bytes of a number."""

_LONG = 8
# Token states alive while a layer runs: two streams and what they were made of, the normed input,
# queries, keys, values, output and its projection.
_STATES_IN_ATTENTION = 9
_STATES_IN_FEED_FORWARD = 6  # streams as above, the normed input, the output and its chunks joined
_STATES_IN_RECURRENCE = 6
_UNITS_IN_RECURRENCE = 11  # times n_units: gates, what comes of them, cells and outputs
_INDICES_OF_HASH = 18  # bytes of a position, head and round: its bucket in three widths
_MOST_BUCKETS = 1 << 16
_BIAS = 11  # bytes of a query and key where a mask is written out: three flags, two numbers


class Work(NamedTuple):
    """What a stack is given.

    Attributes:
        width: Of the states.
        n_tokens: Positions of the one text.
        chunk_len: Tokens that feed-forward layers compute at once, 0 for all.
        device: Where.
    """

    width: int
    n_tokens: int
    chunk_len: int
    device: torch.device

    @property
    def states(self) -> int:
        """Bytes of one state for each position."""
        return self.n_tokens * self.width * FLOAT

    @property
    def in_chunk(self) -> int:
        """Tokens of a chunk."""
        return min(self.n_tokens, self.chunk_len or self.n_tokens)


def stack_bytes(stack: StackConfig, work: Work) -> int:
    """Returns the peak of a stack's activations and workspaces, in bytes."""
    peaks = [_attention_bytes(config, work) for config in set(stack.attentions)]
    peaks += [_feed_forward_bytes(config, work) for config in set(stack.feed_forwards)]
    if stack.sru is not None:
        peaks.append(_recurrence_bytes(stack.sru, work))
    return max(peaks)


def _attention_bytes(config: AttentionConfig, work: Work) -> int:
    projections = (_STATES_IN_ATTENTION - 4) * work.states + _qkv_bytes(config, work)
    attending = _STATES_IN_ATTENTION * work.states
    n_tokens = work.n_tokens
    if isinstance(config, LSHAttentionConfig):
        attending += _hashed_bytes(config, work)
    elif isinstance(config, LocalAttentionConfig):
        n_chunks = config.n_chunks_before + 1 + config.n_chunks_after
        attending += (3 + 2 * n_chunks) * work.states  # chunks, and all that each reaches
        attending += n_tokens * min(n_tokens, n_chunks * config.chunk_len) * _BIAS
    elif getattr(config.qkv, "share_qk", False):
        attending += n_tokens**2 * _BIAS
    return max(projections, attending)


def _hashed_bytes(config: LSHAttentionConfig, work: Work) -> int:
    n_heads, d_head = config.n_heads, work.width // config.n_heads
    by_length = min(2 * max(1, work.n_tokens // config.chunk_len), _MOST_BUCKETS)
    n_buckets = by_length if config.n_buckets is None else config.n_buckets
    hashing = workspace_bytes(
        "hash_buckets",
        work.device,
        n_heads=n_heads,
        n_tokens=work.n_tokens,
        n_rounds=config.n_hashes,
        width=sum(factor_buckets(n_buckets)) // 2,
        d_head=d_head,
    )
    attending = workspace_bytes(
        "lsh_attention",
        work.device,
        n_rows=n_heads * work.n_tokens,
        n_rounds=config.n_hashes,
        d_head=d_head,
        reach=config.chunk_len * (config.n_chunks_before + 1 + config.n_chunks_after),
    )
    buckets = _INDICES_OF_HASH * n_heads * config.n_hashes * work.n_tokens
    return buckets + max(hashing, attending)


def _qkv_bytes(config: AttentionConfig, work: Work) -> int:
    """Workspace of the projections to queries, keys and values."""
    qkv = config.qkv
    if isinstance(qkv, ConvolutionalQKVConfig):
        return workspace_bytes(
            "convolutional_qkv",
            work.device,
            n_tokens=work.n_tokens,
            d_model=work.width * (1 if qkv.value_input == "mixed" else 2),
            n_modules=qkv.n_modules,
            kernel_size=qkv.kernel_size,
            length_kernel_size=qkv.length_kernel_size,
        )
    return work.width**2 * FLOAT if isinstance(qkv, MultiplicativeQKVConfig) else 0


def _feed_forward_bytes(config: FeedForwardConfig, work: Work) -> int:
    states = _STATES_IN_FEED_FORWARD * work.states
    if isinstance(config, SwitchFFConfig):
        routing = work.n_tokens * (3 * config.n_experts * FLOAT + 4 * _LONG)
        return (
            states
            + routing
            + workspace_bytes(
                "expert_feed_forward",
                work.device,
                n_tokens=work.n_tokens,
                n_units=config.d_ff,
                d_model=work.width,
            )
        )
    n_tokens = work.in_chunk
    if not isinstance(config, SparseFFConfig):
        return states + 2 * n_tokens * config.d_ff * FLOAT
    n_blocks = config.d_ff // config.block_size
    controller = n_tokens * ((config.d_lowrank + config.d_ff) * FLOAT + n_blocks * (_LONG + 1))
    return (
        states
        + controller
        + workspace_bytes(
            "sparse_feed_forward",
            work.device,
            n_tokens=n_tokens,
            n_units=config.d_ff,
            n_blocks=n_blocks,
            d_model=work.width,
        )
    )


def _recurrence_bytes(config: SRUConfig, work: Work) -> int:
    units = _UNITS_IN_RECURRENCE * work.n_tokens * config.n_units * FLOAT
    return (
        _STATES_IN_RECURRENCE * work.states
        + units
        + workspace_bytes(
            "sru_scan", work.device, n_texts=1, n_tokens=work.n_tokens, width=config.n_units
        )
    )
