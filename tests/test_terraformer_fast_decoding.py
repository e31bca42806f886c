from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from kernels import decoding_step
from terraformer.attention_config import (
    AttentionConfig,
    ConvolutionalQKVConfig,
    CrossAttentionConfig,
    DenseQKVConfig,
    FullAttentionConfig,
    LocalAttentionConfig,
    LSHAttentionConfig,
    ModularQKVConfig,
    MultiplicativeQKVConfig,
    QKVConfig,
)
from terraformer.config import EncoderDecoderConfig, LanguageModelConfig
from terraformer.decoding_layers import UncoveredError
from terraformer.encoder_decoder import EncoderDecoder
from terraformer.fast_decoding import FastDecoder, fast_or_plain
from terraformer.feed_forward_config import (
    DenseFFConfig,
    FeedForwardConfig,
    SparseFFConfig,
    SwitchFFConfig,
)
from terraformer.language_model import LanguageModel
from terraformer.position_config import (
    AxialPositionsConfig,
    FixedBasePositionsConfig,
    LearnedPositionsConfig,
    PositionsConfig,
    SinusoidalPositionsConfig,
    TimeBinPositionsConfig,
)
from terraformer.stack_config import (
    LowRankHeadConfig,
    SparseHeadConfig,
    SRUConfig,
    StackConfig,
    VocabularyHeadConfig,
)

pytestmark = pytest.mark.skipif(
    decoding_step.unavailable() is not None, reason=str(decoding_step.unavailable())
)

CONVOLUTIONAL = ConvolutionalQKVConfig(n_modules=4)
FULL = FullAttentionConfig(n_heads=4)
SPARSE = SparseFFConfig(d_ff=72, block_size=6, d_lowrank=5)
SCALING = LanguageModelConfig(
    vocab_size=52,
    d_model=36,  # no multiple of a vector's eight numbers, as heads of nine
    decoder=StackConfig(
        2, FullAttentionConfig(n_heads=4, qkv=CONVOLUTIONAL), SPARSE, residual="standard"
    ),
    positions=LearnedPositionsConfig(max_len=128),
    head=SparseHeadConfig(n_modules=4),
)

QKV: dict[str, QKVConfig] = {
    "dense": DenseQKVConfig(),
    "dense-no-bias": DenseQKVConfig(bias=False),
    "dense-shared": DenseQKVConfig(share_qk=True, bias=False),
    "multiplicative": MultiplicativeQKVConfig(n_modules=3),
    "modular": ModularQKVConfig(n_modules=3),
    "convolutional": CONVOLUTIONAL,
    "convolutional-shared": replace(CONVOLUTIONAL, share_qk=True),
    "convolutional-flat": replace(CONVOLUTIONAL, length_kernel_size=1),
    "convolutional-narrow": replace(CONVOLUTIONAL, n_modules=6, kernel_size=1),
    "convolutional-wide": replace(CONVOLUTIONAL, n_modules=6, kernel_size=5, length_kernel_size=4),
    "convolutional-one-module": replace(CONVOLUTIONAL, n_modules=1),
    "value-of-both": replace(CONVOLUTIONAL, value_input="both"),
    "value-of-joined": replace(CONVOLUTIONAL, value_input="joined"),
    "output-multiplicative": replace(CONVOLUTIONAL, output="multiplicative"),
    "output-convolutional": replace(CONVOLUTIONAL, output="convolutional"),
    "output-both": replace(CONVOLUTIONAL, output="both"),
}
ATTENTION: dict[str, AttentionConfig] = {
    "rotary": FullAttentionConfig(n_heads=3, rotary=True),
    "rotary-shared": FullAttentionConfig(n_heads=3, rotary=True, qkv=DenseQKVConfig(share_qk=True)),
    "local": LocalAttentionConfig(n_heads=2, chunk_len=5),
    "local-shared": LocalAttentionConfig(
        n_heads=2, chunk_len=20, n_chunks_before=0, qkv=DenseQKVConfig(share_qk=True)
    ),
}
FEED_FORWARD: dict[str, FeedForwardConfig] = {
    "dense": DenseFFConfig(d_ff=70),
    "sparse": SPARSE,
    "sparse-multiplied": replace(SPARSE, multiply_by_controller=True),
    "sparse-one-block": replace(SPARSE, block_size=72),
    "sparse-of-ones": replace(SPARSE, block_size=1),
    "switch": SwitchFFConfig(d_ff=20, n_experts=5),
}
POSITIONS: dict[str, PositionsConfig | None] = {
    "none": None,
    "low-rank": LearnedPositionsConfig(max_len=200, d_lowrank=7),
    "axial": AxialPositionsConfig(shape=(5, 21), widths=(16, 20)),
    "fixed-base": FixedBasePositionsConfig(bases=(5, 7), n_digits=4),
    "sinusoidal": SinusoidalPositionsConfig(),
    "time-bin": TimeBinPositionsConfig(bin_len=9),
}
HEADS: dict[str, VocabularyHeadConfig | None] = {
    "dense": None,
    "low-rank": LowRankHeadConfig(d_lowrank=11),
}


def with_attention(attention: AttentionConfig) -> LanguageModelConfig:
    return replace(SCALING, decoder=replace(SCALING.decoder, attention=attention))


def with_stack(**fields: object) -> LanguageModelConfig:
    return replace(SCALING, decoder=replace(SCALING.decoder, **fields))


CONFIGS = {
    **{name: with_attention(replace(FULL, qkv=qkv)) for name, qkv in QKV.items()},
    **{name: with_attention(attention) for name, attention in ATTENTION.items()},
    **{f"ff-{name}": with_stack(feed_forward=ff) for name, ff in FEED_FORWARD.items()},
    **{f"positions-{name}": replace(SCALING, positions=p) for name, p in POSITIONS.items()},
    "head-dense": LanguageModelConfig(52, 36, SCALING.decoder),
    "head-low-rank": replace(SCALING, head=LowRankHeadConfig(d_lowrank=11)),
    "several-layers": with_stack(
        n_layers=3, attention=(FULL, ATTENTION["local"]), feed_forward=(SPARSE, DenseFFConfig(50))
    ),
    "recurrent": with_stack(sru=SRUConfig(n_layers=2, n_units=10)),
    "reversible": with_stack(residual="reversible", sru=SRUConfig(1, 20), n_attention=2),
    "reversible-no-last-swap": with_stack(residual="reversible", swap_last=False),
    "concatenated": replace(
        with_stack(residual="reversible"), join_streams="concatenated", d_model=36
    ),
}


def randomized(model: LanguageModel | EncoderDecoder) -> LanguageModel | EncoderDecoder:
    """Gives biases and gains, which start next to nothing, sizes that matter."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() <= 1:
                parameter.add_(0.2 * torch.randn_like(parameter))
    return model.eval()


def decode(decoder: FastDecoder | LanguageModel | EncoderDecoder, *begin: Tensor) -> Tensor:
    """Logits after the beginning and after each of 50 tokens, more than caches have room for."""
    steps = torch.randint(52, (50, 1), generator=torch.Generator().manual_seed(5))
    logits, state = decoder.begin(*begin)  # pyright: ignore[reportArgumentType]
    out = [logits]
    for ids_t in steps:
        logits, state = decoder.step(ids_t, state)  # pyright: ignore[reportArgumentType]
        out.append(logits)
    return torch.cat(out)


@pytest.mark.parametrize("name", CONFIGS)
def test_steps_are_those_of_the_language_model(name: str, assert_near: Callable[..., None]) -> None:
    model = randomized(LanguageModel(CONFIGS[name]))
    prompt = torch.randint(52, (1, 17))
    assert_near(decode(FastDecoder.of(model), prompt), decode(model, prompt))


ENCODER = StackConfig(1, FULL, DenseFFConfig(40), residual="standard")
TRANSFORMER = EncoderDecoderConfig(
    vocab_size=52,
    d_model=36,
    encoder=ENCODER,
    decoder=replace(SCALING.decoder, cross_attention=CrossAttentionConfig(n_heads=3)),
    source_positions=LearnedPositionsConfig(max_len=64),
    target_positions=LearnedPositionsConfig(max_len=64),
    head=SparseHeadConfig(n_modules=4),
)
ENCODER_DECODERS = {
    "cross": TRANSFORMER,
    "cross-sparse": replace(
        TRANSFORMER,
        decoder=replace(TRANSFORMER.decoder, cross_attention=CrossAttentionConfig(4, n_modules=4)),
    ),
    "joined": replace(
        TRANSFORMER,
        encoder=replace(ENCODER, residual="reversible"),
        decoder=replace(SCALING.decoder, residual="reversible", sru=SRUConfig(1, 9)),
    ),
    "joined-mean": replace(
        TRANSFORMER,
        decoder=replace(SCALING.decoder, residual="reversible", n_attention=2),
        pass_both_streams=False,
    ),
}


@pytest.mark.parametrize("name", ENCODER_DECODERS)
@pytest.mark.parametrize("n_real", [20, 13, 1, 0])
def test_steps_are_those_of_the_encoder_decoder(
    name: str, n_real: int, assert_near: Callable[..., None]
) -> None:
    if name.startswith("joined") and n_real == 0:
        pytest.skip("a decoder that joins has nothing to prefill without a source")
    model = randomized(EncoderDecoder(ENCODER_DECODERS[name]))
    source, mask = torch.randint(52, (1, 20)), torch.arange(20)[None] < n_real
    assert_near(decode(FastDecoder.of(model), source, mask), decode(model, source, mask))
