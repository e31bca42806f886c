"""Summaries whose memory is measured in a process of their own."""

from __future__ import annotations

from dataclasses import replace

import torch

from eval.measured_process import Work
from terraformer.attention_config import (
    ConvolutionalQKVConfig,
    CrossAttentionConfig,
    DenseQKVConfig,
    FullAttentionConfig,
    LocalAttentionConfig,
    LSHAttentionConfig,
)
from terraformer.config import EncoderDecoderConfig, TerraformerConfig
from terraformer.encoder_decoder import EncoderDecoder
from terraformer.fast_decoding import fast_or_plain
from terraformer.feed_forward_config import DenseFFConfig, SparseFFConfig
from terraformer.memory import apply_plan, plan_memory, plan_writing
from terraformer.model import Source, Terraformer
from terraformer.stack_config import SRUConfig, StackConfig

CONFIG = TerraformerConfig()
N_PIECES = 2000


def new_source(n_tokens: int, n_sentences: int) -> Source:
    """Returns a random document."""
    return Source(
        ids=torch.randint(3, 24576, (1, n_tokens)),
        token_mask=torch.ones(1, n_tokens, dtype=torch.bool),
        sentence_of_token=torch.arange(n_tokens)[None] * n_sentences // n_tokens,
        features=torch.randn(1, n_sentences, CONFIG.n_features),
        sentence_mask=torch.ones(1, n_sentences, dtype=torch.bool),
        selectable=torch.ones(1, n_sentences, dtype=torch.bool),
        n_words=torch.full((1, n_sentences), 20),
    )


def prepare_picking(n_tokens: int, n_sentences: int) -> Work:
    """Prepares five picks of a document."""
    model = Terraformer(CONFIG).eval()
    source, small = new_source(n_tokens, n_sentences), new_source(300, 12)
    apply_plan(plan_memory(CONFIG, n_tokens, n_sentences, None), model)

    def pick(source: Source) -> None:
        with torch.inference_mode():
            _, state = model.begin(source)
            for sentence in range(5):
                _, state = model.step(sentence, 20, state)

    pick(small)
    return Work(lambda: pick(source), 0)


LOCAL = LocalAttentionConfig(n_heads=4, chunk_len=64)
HASHED = LSHAttentionConfig(n_heads=4, n_hashes=2, qkv=ConvolutionalQKVConfig(n_modules=4))
FEED_FORWARD = SparseFFConfig(d_ff=512, block_size=16, d_lowrank=16)
WRITERS = {
    "local": EncoderDecoderConfig(
        N_PIECES,
        128,
        StackConfig(2, LOCAL, DenseFFConfig(d_ff=512), residual="standard"),
        StackConfig(
            2,
            FullAttentionConfig(n_heads=4),
            FEED_FORWARD,
            cross_attention=CrossAttentionConfig(n_heads=4),
            residual="standard",
        ),
    ),
    "joined": EncoderDecoderConfig(
        N_PIECES,
        128,
        StackConfig(2, replace(HASHED, qkv=DenseQKVConfig()), FEED_FORWARD, SRUConfig()),
        StackConfig(2, HASHED, FEED_FORWARD, SRUConfig()),
    ),
}


def prepare_writing(name: str, n_source: int) -> Work:
    """Prepares ten tokens of a summary."""
    config = WRITERS[name]
    model = EncoderDecoder(config).eval()
    apply_plan(plan_writing(config, n_source, 10, None), model)

    def write(n_tokens: int) -> None:
        decoder = fast_or_plain(model)
        _, state = decoder.begin(torch.randint(N_PIECES, (1, n_tokens)))
        for token in range(10):
            _, state = decoder.step(torch.tensor([token]), state)

    write(70)
    return Work(lambda: write(n_source), 0)
