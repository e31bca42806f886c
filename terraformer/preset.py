"""Configurations of published sizes, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from terraformer.attention_config import (
    ConvolutionalQKVConfig,
    CrossAttentionConfig,
    DenseQKVConfig,
    FullAttentionConfig,
    LocalAttentionConfig,
    LSHAttentionConfig,
)
from terraformer.config import EncoderDecoderConfig, LanguageModelConfig, ModelConfig
from terraformer.feed_forward_config import DenseFFConfig, SparseFFConfig, SwitchFFConfig
from terraformer.position_config import AxialPositionsConfig, LearnedPositionsConfig
from terraformer.stack_config import SparseHeadConfig, SRUConfig, StackConfig


def preset(name: str) -> ModelConfig:
    """Returns the configuration of a published model.

    Args:
        name: One of `preset_names()`.
    Raises:
        ValueError: if there is none of this name, naming those there are.
    """
    if name not in _PRESETS:
        raise ValueError(f"unknown preset {name!r}; known: {', '.join(preset_names())}")
    return _PRESETS[name]()


def preset_names() -> list[str]:
    """Returns the names of all presets."""
    return sorted(_PRESETS)


def _scaling_800m_dense() -> EncoderDecoderConfig:
    """The dense baseline, of T5-large's size."""
    attention, feed_forward = FullAttentionConfig(n_heads=16), DenseFFConfig(d_ff=4096)
    return EncoderDecoderConfig(
        vocab_size=32000,
        d_model=1024,
        encoder=StackConfig(24, attention, feed_forward, residual="standard"),
        decoder=StackConfig(
            24,
            attention,
            feed_forward,
            cross_attention=CrossAttentionConfig(n_heads=16),
            residual="standard",
        ),
        source_positions=LearnedPositionsConfig(max_len=512),
        target_positions=LearnedPositionsConfig(max_len=512),
    )


def _scaling_800m() -> EncoderDecoderConfig:
    """As many parameters: where queries, keys and values are sparse, d_ff is half as large again.

    Source: google/trax sparse_c4_pretrain and decoding_timing_test.
    """
    return EncoderDecoderConfig(
        vocab_size=32000,
        d_model=1024,
        encoder=StackConfig(
            24,
            FullAttentionConfig(n_heads=16),
            SparseFFConfig(d_ff=4096, block_size=64, d_lowrank=64),
            residual="standard",
        ),
        decoder=StackConfig(
            24,
            FullAttentionConfig(n_heads=16, qkv=ConvolutionalQKVConfig(n_modules=16)),
            SparseFFConfig(d_ff=6144, block_size=64, d_lowrank=96),
            cross_attention=CrossAttentionConfig(n_heads=16),
            residual="standard",
        ),
        source_positions=LearnedPositionsConfig(max_len=512),
        target_positions=LearnedPositionsConfig(max_len=512),
        head=SparseHeadConfig(n_modules=4),
    )


def _terraformer_800m_c4() -> EncoderDecoderConfig:
    """Full attention, as pretrained on C4.

    Source: google/trax terraformer_c4_medium.
    """
    feed_forward = SparseFFConfig(d_ff=6144, block_size=64, d_lowrank=96, chunk_len=512)
    qkv = ConvolutionalQKVConfig(n_modules=16)
    return EncoderDecoderConfig(
        vocab_size=32000,
        d_model=1024,
        encoder=StackConfig(24, FullAttentionConfig(n_heads=16), feed_forward, SRUConfig(1, 32)),
        decoder=StackConfig(
            24,
            FullAttentionConfig(n_heads=16, qkv=qkv),
            feed_forward,
            SRUConfig(1, 32),
            n_attention=2,
        ),
        source_positions=LearnedPositionsConfig(max_len=32768),
        target_positions=LearnedPositionsConfig(max_len=32768),
        head=SparseHeadConfig(n_modules=4),
    )


def _terraformer_800m() -> EncoderDecoderConfig:
    """Every part of the paper in one: the C4 sizes with LSH attention and low-rank positions.

    Source: google/trax terraformer_c4_medium, with the attention of
        scientific_papers_terraformer_pretrained and the positions of its checkpoint.
    Differs: no published file has all parts at once; the table of positions is longer.
    """
    feed_forward = SparseFFConfig(d_ff=6144, block_size=64, d_lowrank=96, chunk_len=512)
    positions = LearnedPositionsConfig(max_len=131072, d_lowrank=64)
    return EncoderDecoderConfig(
        vocab_size=32000,
        d_model=1024,
        encoder=StackConfig(
            24,
            LSHAttentionConfig(n_heads=16, n_hashes=2, chunk_len=128, qkv=DenseQKVConfig()),
            feed_forward,
            SRUConfig(1, 32),
        ),
        decoder=StackConfig(
            24,
            LSHAttentionConfig(
                n_heads=16, n_hashes=2, chunk_len=128, qkv=ConvolutionalQKVConfig(n_modules=16)
            ),
            feed_forward,
            SRUConfig(1, 32),
            n_attention=2,
        ),
        source_positions=positions,
        target_positions=positions,
        head=SparseHeadConfig(n_modules=4),
    )


def _terraformer_arxiv() -> EncoderDecoderConfig:
    """Fine-tuned on arXiv: LSH attention over dense projections, dense feed-forward.

    Source: google/trax scientific_papers_terraformer_pretrained.
    """
    attention = LSHAttentionConfig(
        n_heads=16,
        n_hashes=2,
        chunk_len=128,
        n_buckets=128,
        qkv=DenseQKVConfig(),
        dropout=0.2,
    )
    positions = LearnedPositionsConfig(max_len=32768, d_lowrank=64)
    return EncoderDecoderConfig(
        vocab_size=32000,
        d_model=1024,
        encoder=StackConfig(24, attention, DenseFFConfig(d_ff=4096)),
        decoder=StackConfig(24, attention, DenseFFConfig(d_ff=4096), n_attention=2),
        source_positions=positions,
        target_positions=positions,
        dropout=0.2,
    )


def _terraformer_17b() -> EncoderDecoderConfig:
    """The large one, whose full configuration was not published.

    Source: google/trax decoding_timing_test for width, heads, sparsities and units; six layers on
        each side are what makes 17 billion parameters of them.
    """
    feed_forward = SparseFFConfig(d_ff=65536, block_size=256, d_lowrank=32, chunk_len=512)
    positions = LearnedPositionsConfig(max_len=32768, d_lowrank=64)
    return EncoderDecoderConfig(
        vocab_size=32000,
        d_model=9216,
        encoder=StackConfig(6, FullAttentionConfig(n_heads=96), feed_forward, SRUConfig(1, 64)),
        decoder=StackConfig(
            6,
            FullAttentionConfig(n_heads=96, qkv=ConvolutionalQKVConfig(n_modules=64)),
            feed_forward,
            SRUConfig(1, 64),
            n_attention=2,
        ),
        source_positions=positions,
        target_positions=positions,
        head=SparseHeadConfig(n_modules=8),
    )


def _reformer_enwik8() -> LanguageModelConfig:
    """Characters, 64k at a time: one layer in four hashes, the others look around.

    Source: Kitaev et al. 2020, arXiv:2001.04451; sizes of google/reformer-enwik8.
    """
    local = LocalAttentionConfig(
        n_heads=8, chunk_len=128, n_chunks_after=0, qkv=DenseQKVConfig(bias=False), dropout=0.2
    )
    hashed = LSHAttentionConfig(
        n_heads=8, n_hashes=4, chunk_len=256, n_chunks_after=0, n_buckets=512, dropout=0.1
    )
    return LanguageModelConfig(
        vocab_size=258,
        d_model=1024,
        decoder=StackConfig(
            12, (local, local, hashed, local), DenseFFConfig(d_ff=4096, chunk_len=16384)
        ),
        positions=AxialPositionsConfig(shape=(128, 512), widths=(256, 768)),
        join_streams="concatenated",
        dropout=0.2,
    )


def _switch_base(n_experts: int) -> EncoderDecoderConfig:
    """T5-base, in which every second feed-forward layer has experts.

    Source: Fedus et al. 2021, arXiv:2101.03961; sizes of google/switch-base-8.
    Differs: learned positions instead of relative biases, layer norm with mean and bias.
    """
    attention = FullAttentionConfig(n_heads=12)
    feed_forward = (DenseFFConfig(d_ff=3072), SwitchFFConfig(d_ff=3072, n_experts=n_experts))
    return EncoderDecoderConfig(
        vocab_size=32128,
        d_model=768,
        encoder=StackConfig(12, attention, feed_forward, residual="standard"),
        decoder=StackConfig(
            12,
            attention,
            feed_forward,
            cross_attention=CrossAttentionConfig(n_heads=12),
            residual="standard",
        ),
        source_positions=LearnedPositionsConfig(max_len=512),
        target_positions=LearnedPositionsConfig(max_len=512),
    )


_PRESETS: Mapping[str, Callable[[], ModelConfig]] = {
    "scaling-800m": _scaling_800m,
    "scaling-800m-dense": _scaling_800m_dense,
    "terraformer-800m": _terraformer_800m,
    "terraformer-800m-c4": _terraformer_800m_c4,
    "terraformer-arxiv": _terraformer_arxiv,
    "terraformer-17b": _terraformer_17b,
    "reformer-enwik8": _reformer_enwik8,
} | {
    f"switch-base-{n_experts}": partial(_switch_base, n_experts)
    for n_experts in (8, 16, 32, 64, 128, 256)
}
