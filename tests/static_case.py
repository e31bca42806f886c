"""Small models of every kind of layer, whose decoding in a step of fixed shapes is tested."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from terraformer.attention_config import (
    ConvolutionalQKVConfig,
    CrossAttentionConfig,
    DenseQKVConfig,
    FullAttentionConfig,
    LocalAttentionConfig,
    LSHAttentionConfig,
)
from terraformer.config import EncoderDecoderConfig, LanguageModelConfig
from terraformer.encoder_decoder import EncoderDecoder
from terraformer.feed_forward_config import DenseFFConfig, SparseFFConfig, SwitchFFConfig
from terraformer.language_model import LanguageModel
from terraformer.position_config import (
    FixedBasePositionsConfig,
    LearnedPositionsConfig,
    TimeBinPositionsConfig,
)
from terraformer.stack_config import CopyConfig, SparseHeadConfig, SRUConfig, StackConfig

CONVOLUTIONAL = ConvolutionalQKVConfig(n_modules=4)
SPARSE = SparseFFConfig(d_ff=72, block_size=6, d_lowrank=5)
FULL = FullAttentionConfig(n_heads=4)
SHARED = FullAttentionConfig(n_heads=4, qkv=DenseQKVConfig(share_qk=True), rotary=True)
LOCAL = LocalAttentionConfig(n_heads=4, chunk_len=8)
HASHED = LSHAttentionConfig(n_heads=4, n_hashes=2, chunk_len=8)
SRU = SRUConfig(n_layers=2, n_units=8)


def _language_model(stack: StackConfig, **changes: object) -> LanguageModelConfig:
    return replace(LanguageModelConfig(vocab_size=52, d_model=32, decoder=stack), **changes)


def _encoder_decoder(decoder: StackConfig, **changes: object) -> EncoderDecoderConfig:
    encoder = StackConfig(1, HASHED, SPARSE)
    config = EncoderDecoderConfig(52, 32, encoder, decoder, LearnedPositionsConfig(max_len=64))
    return replace(config, target_positions=LearnedPositionsConfig(max_len=256), **changes)


SPARSE_STACK = StackConfig(2, replace(FULL, qkv=CONVOLUTIONAL), SPARSE, residual="standard")
CONFIGS = {
    "dense": _language_model(StackConfig(2, FULL, DenseFFConfig(48), residual="standard")),
    "sparse": _language_model(
        SPARSE_STACK,
        positions=LearnedPositionsConfig(max_len=256),
        head=SparseHeadConfig(n_modules=4),
    ),
    "shared": _language_model(StackConfig(2, SHARED, SPARSE), positions=TimeBinPositionsConfig()),
    "local": _language_model(
        StackConfig(2, (LOCAL, replace(LOCAL, qkv=DenseQKVConfig(share_qk=True))), SPARSE),
        join_streams="concatenated",
        positions=FixedBasePositionsConfig(n_digits=8),
    ),
    "hashed": _language_model(
        StackConfig(1, replace(HASHED, qkv=CONVOLUTIONAL), SPARSE, SRU, n_attention=2)
    ),
    "hashed-shared": _language_model(StackConfig(2, replace(HASHED, rotary=True), SPARSE)),
    "switch": _language_model(
        StackConfig(2, FULL, SwitchFFConfig(d_ff=24, n_experts=3), residual="standard")
    ),
    "joined": _encoder_decoder(
        StackConfig(1, replace(HASHED, qkv=CONVOLUTIONAL), SPARSE, SRU, n_attention=2),
        copy=CopyConfig(d_key=8, run_len=2),
    ),
    "cross": _encoder_decoder(
        replace(SPARSE_STACK, cross_attention=CrossAttentionConfig(4, n_modules=4)),
        copy=CopyConfig(d_key=8),
    ),
}


def new_model(name: str) -> LanguageModel | EncoderDecoder:
    """Returns a model in evaluation, its norms' biases not zero."""
    torch.manual_seed(0)
    config = CONFIGS[name]
    built = EncoderDecoder if isinstance(config, EncoderDecoderConfig) else LanguageModel
    model = built(config).eval()
    for module in model.modules():
        if isinstance(module, nn.LayerNorm):
            nn.init.normal_(module.bias, std=0.3)
    return model


def random_ids(n_texts: int, length: int, seed: int = 1) -> Tensor:
    """Returns ids [n_texts, length], none of them special."""
    return torch.randint(3, 52, (n_texts, length), generator=torch.Generator().manual_seed(seed))
