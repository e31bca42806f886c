"""Pairs of a sparse and a dense model of as many parameters, whose decoding is compared."""

from __future__ import annotations

from dataclasses import dataclass, replace

from terraformer.attention_config import (
    ConvolutionalQKVConfig,
    CrossAttentionConfig,
    FullAttentionConfig,
)
from terraformer.config import EncoderDecoderConfig, LanguageModelConfig
from terraformer.feed_forward_config import DenseFFConfig, SparseFFConfig
from terraformer.preset import preset
from terraformer.stack_config import (
    DenseHeadConfig,
    SparseHeadConfig,
    StackConfig,
    VocabularyHeadConfig,
)

N_SOURCE = 512  # positions of the encoder that whole models attend to


@dataclass(frozen=True)
class Pair:
    """Two models that are compared.

    Attributes:
        sparse, dense: Of as many parameters within 1 %, or the sparse one has more; neither has
            positions.
    """

    sparse: LanguageModelConfig | EncoderDecoderConfig
    dense: LanguageModelConfig | EncoderDecoderConfig


@dataclass(frozen=True)
class Figure:
    """One row of the table of decoding.

    Attributes:
        pair: Name in `PAIRS`.
        context: Positions in the caches.
        selected: Whether the sparse model's cache is a selected one; else all positions are read.
        int8: Whether both have int8 weights.
    """

    pair: str
    context: int
    selected: bool = False
    int8: bool = False


def _layers(
    n_layers: int,
    d_model: int,
    n_heads: int,
    sparse: SparseFFConfig,
    d_ff: int,
    n_modules: int,
    vocab_size: int = 512,
    head: VocabularyHeadConfig | None = None,
) -> Pair:
    """Causal layers between an embedding and a loss layer, small ones where no size is given."""

    def language_model(stack: StackConfig, head: VocabularyHeadConfig) -> LanguageModelConfig:
        return LanguageModelConfig(vocab_size, d_model, stack, head=head, dropout=0.0)

    attention = FullAttentionConfig(n_heads)
    convolutional = replace(attention, qkv=ConvolutionalQKVConfig(n_modules))
    ours = StackConfig(n_layers, convolutional, sparse, residual="standard")
    dense = StackConfig(n_layers, attention, DenseFFConfig(d_ff), residual="standard")
    return Pair(
        language_model(ours, head or DenseHeadConfig()), language_model(dense, DenseHeadConfig())
    )


def _whole(n_modules: int, d_ff: int) -> Pair:
    """The published decoder with its attention to an encoder, of which one layer is enough here."""
    configs = []
    for name in ("scaling-800m", "scaling-800m-dense"):
        config = preset(name)
        assert isinstance(config, EncoderDecoderConfig)
        decoder, feed_forward = config.decoder, config.decoder.feed_forward
        if isinstance(feed_forward, SparseFFConfig):
            decoder = replace(
                decoder,
                feed_forward=replace(feed_forward, d_ff=d_ff),
                cross_attention=CrossAttentionConfig(n_heads=16, n_modules=n_modules),
            )
        configs.append(
            replace(
                config,
                encoder=replace(config.encoder, n_layers=1),
                decoder=decoder,
                source_positions=None,
                target_positions=None,
                dropout=0.0,
            )
        )
    return Pair(*configs)


PAIRS = {
    # Layers of scaling-800m, which as published have 7 % more parameters than the dense ones: those
    # of the whole model are as many.
    "800m": _layers(24, 1024, 16, SparseFFConfig(6144, 64, 96), 4096, 16),
    # The same with its attention to an encoder and its loss layer, as published, and with sparse
    # queries and outputs there too.
    "800m-whole": _whole(n_modules=0, d_ff=6144),
    "800m-whole-sparse-cross": _whole(n_modules=16, d_ff=7168),
    # One layer of terraformer-17b.
    "17b-layer": _layers(1, 9216, 96, SparseFFConfig(55296, 256, 32), 36864, 64),
    # A small model whose embedding and loss layer are most of it.
    "50m": _layers(
        6, 512, 8, SparseFFConfig(4736, 64, 32), 2048, 8, 32000, SparseHeadConfig(n_modules=4)
    ),
}

FIGURES = {
    "decode-800m-ctx128": Figure("800m", 128),
    "decode-800m-int8-ctx128": Figure("800m", 128, int8=True),
    "decode-800m-ctx2048": Figure("800m", 2048),
    "decode-800m-selected-ctx2048": Figure("800m", 2048, selected=True),
    "decode-800m-selected-ctx16384": Figure("800m", 16384, selected=True),
    "decode-800m-whole-ctx128": Figure("800m-whole", 128),
    "decode-800m-whole-sparse-cross-ctx128": Figure("800m-whole-sparse-cross", 128),
    "decode-17b-layer-ctx128": Figure("17b-layer", 128),
    "decode-50m-ctx128": Figure("50m", 128),
    "decode-50m-ctx512": Figure("50m", 512),
}
