from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from kernels import decoding_step
from terraformer import fast_decoding
from terraformer.attention_config import (
    AttentionConfig,
    ConvolutionalQKVConfig,
    CrossAttentionConfig,
    DenseQKVConfig,
    FullAttentionConfig,
    LocalAttentionConfig,
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
from terraformer.preset import preset
from terraformer.stack_config import (
    CopyConfig,
    LowRankHeadConfig,
    SparseHeadConfig,
    SRUConfig,
    StackConfig,
)
from terraformer.switch import SwitchFF

BUILT = decoding_step.unavailable() is None
pytestmark = pytest.mark.skipif(not BUILT, reason=str(decoding_step.unavailable()))

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


def scaled_down(name: str) -> EncoderDecoderConfig:
    """A preset with a sixteenth of its width and two layers."""

    def smaller(config: object) -> object:
        if isinstance(config, tuple):
            return tuple(smaller(item) for item in config)
        if not dataclasses.is_dataclass(config):
            return config
        fields = {
            item.name: smaller(getattr(config, item.name)) for item in dataclasses.fields(config)
        }
        sizes = {
            "d_model": 16,
            "d_ff": 16,
            "block_size": 8,
            "d_lowrank": 16,
            "max_len": 4,
            "n_heads": 4,
        }
        for field, factor in sizes.items():
            if isinstance(fields.get(field), int):
                fields[field] = max(1, fields[field] // factor)
        fields |= {field: 2 for field in ("n_layers",) if "sru" in fields}
        fields |= {"vocab_size": 52} if "vocab_size" in fields else {}
        return type(config)(**fields)

    small = smaller(preset(name))
    assert isinstance(small, EncoderDecoderConfig)
    return small


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
    "cross-copy": replace(TRANSFORMER, copy=CopyConfig(d_key=20, run_len=2)),
    "joined-copy": replace(
        TRANSFORMER,
        encoder=replace(ENCODER, residual="reversible"),
        decoder=replace(SCALING.decoder, residual="reversible"),
        copy=CopyConfig(d_key=20),
    ),
    "joined-mean": replace(
        TRANSFORMER,
        decoder=replace(SCALING.decoder, residual="reversible", n_attention=2),
        pass_both_streams=False,
    ),
}


@pytest.mark.parametrize(
    ("name", "n_real"),
    [(name, n) for name in ENCODER_DECODERS for n in (20, 13, 1)]
    + [("cross", 0), ("cross-sparse", 0), ("cross-copy", 0)],
)
def test_steps_are_those_of_the_encoder_decoder(
    name: str, n_real: int, assert_near: Callable[..., None]
) -> None:
    model = randomized(EncoderDecoder(ENCODER_DECODERS[name]))
    source, mask = torch.randint(52, (1, 20)), torch.arange(20)[None] < n_real
    assert_near(decode(FastDecoder.of(model), source, mask), decode(model, source, mask))


@pytest.mark.parametrize("simd", decoding_step.instruction_sets() if BUILT else [])
@pytest.mark.parametrize("name", ["several-layers", "ff-switch", "reversible"])
def test_every_instruction_set_does_the_same(
    simd: str, name: str, assert_near: Callable[..., None]
) -> None:
    model = randomized(LanguageModel(CONFIGS[name]))
    prompt = torch.randint(52, (1, 3))
    decoder = FastDecoder.of(model, instruction_set=simd)
    assert_near(decode(decoder, prompt), decode(model, prompt))


@pytest.mark.parametrize("n_threads", [2, 3])
@pytest.mark.parametrize("name", ["modular", "value-of-both", "ff-switch", "reversible"])
def test_threads_share_a_step(n_threads: int, name: str, assert_near: Callable[..., None]) -> None:
    model = randomized(LanguageModel(CONFIGS[name]))
    prompt = torch.randint(52, (1, 3))
    assert_near(decode(FastDecoder.of(model, n_threads), prompt), decode(model, prompt))


@pytest.mark.parametrize("fast", [True, False], ids=["fast", "plain"])
@pytest.mark.parametrize("name", ["cross-copy", "joined-copy"])
def test_a_copied_state_goes_its_own_way(
    name: str, fast: bool, assert_near: Callable[..., None]
) -> None:
    model = randomized(EncoderDecoder(ENCODER_DECODERS[name]))
    decoder: Any = FastDecoder.of(model) if fast else model
    source, ids = torch.randint(52, (1, 20)), torch.randint(52, (2, 21))
    ids[:, 0] = 3
    expected = model.logits(source.expand(2, -1), ids).detach()
    _, state = decoder.begin(source)
    _, state = decoder.step(ids[:1, 0], state)
    states = [state, deepcopy(state)]
    for t in range(1, 20):
        for i in range(2):
            logits, states[i] = decoder.step(ids[i : i + 1, t], states[i])
            assert_near(logits[0], expected[i, t + 1])


def test_a_text_may_start_without_a_prompt(assert_near: Callable[..., None]) -> None:
    model = randomized(LanguageModel(SCALING))
    nothing = torch.empty(1, 0, dtype=torch.long)
    assert_near(decode(FastDecoder.of(model), nothing), decode(model, nothing))


def test_several_texts_take_turns(assert_near: Callable[..., None]) -> None:
    model = randomized(LanguageModel(CONFIGS["reversible"]))
    fast = FastDecoder.of(model)
    prompts = torch.randint(52, (2, 1, 9))
    states = [fast.begin(prompt)[1] for prompt in prompts]
    known = [model.begin(prompt)[1] for prompt in prompts]
    for ids_t in torch.randint(52, (20, 1)):
        for i in range(2):
            logits, states[i] = fast.step(ids_t, states[i])
            expected, known[i] = model.step(ids_t, known[i])
            assert_near(logits, expected)


@pytest.mark.parametrize("preset_name", ["scaling-800m", "terraformer-800m-c4", "switch-base-8"])
def test_presets_scaled_down(preset_name: str, assert_near: Callable[..., None]) -> None:
    model = randomized(EncoderDecoder(scaled_down(preset_name)))
    source = torch.randint(52, (1, 12))
    assert_near(decode(FastDecoder.of(model), source), decode(model, source))


@pytest.mark.parametrize(
    "name", ["dense", "multiplicative", "convolutional", "recurrent", "ff-dense", "ff-switch"]
)
def test_int8_weights_cost_little(name: str) -> None:
    # 127 steps a row: each layer errs by about 1 / 200 of its output; chosen units are another
    # matter, so the sparse feed-forward is left out here.
    config = CONFIGS[name]
    if isinstance(config.decoder.feed_forward, SparseFFConfig):
        config = replace(config, decoder=replace(config.decoder, feed_forward=DenseFFConfig(70)))
    model = randomized(LanguageModel(config))
    prompt = torch.randint(52, (1, 3))
    expected = decode(model, prompt)
    missed = decode(FastDecoder.of(model, int8=True), prompt) - expected
    assert missed.square().mean().sqrt() < 0.02 * expected.square().mean().sqrt()
    assert missed.any()


def test_int8_controllers_choose_mostly_the_same() -> None:
    model = randomized(LanguageModel(CONFIGS["ff-sparse"]))
    prompt = torch.randint(52, (1, 3))
    expected = decode(model, prompt)
    missed = decode(FastDecoder.of(model, int8=True), prompt) - expected
    assert missed.square().mean().sqrt() < 0.15 * expected.square().mean().sqrt()


def test_what_is_not_covered_is_named_and_decoded_in_pytorch(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fast_decoding, "_told", set())
    model = LanguageModel(CONFIGS["ff-switch"]).eval()
    for module in model.modules():
        if isinstance(module, SwitchFF):
            module.experts.group = object()  # as if they were spread over processes
    with pytest.raises(UncoveredError, match="experts spread over processes"):
        FastDecoder.of(model)
    with caplog.at_level(logging.WARNING):
        assert fast_or_plain(model) is model
        assert fast_or_plain(model) is model
    assert [record.message for record in caplog.records] == [
        "decoding goes on in PyTorch, slower: "
        "experts spread over processes have no decoding step in C++"
    ]


def test_models_that_are_no_plain_float32() -> None:
    model = LanguageModel(SCALING)
    with pytest.raises(UncoveredError, match="in evaluation"):
        FastDecoder.of(model)
    with pytest.raises(UncoveredError, match=r"embedding.weight is torch.float64"):
        FastDecoder.of(model.eval().double())


def test_without_a_compiler_the_model_decodes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fast_decoding, "unavailable", lambda: "the extension is not built")
    model = LanguageModel(SCALING).eval()
    assert fast_or_plain(model) is model


def test_mistakes_of_the_caller() -> None:
    fast = FastDecoder.of(LanguageModel(SCALING).eval())
    with pytest.raises(ValueError, match="ids of 2 texts"):
        fast.begin(torch.zeros(2, 3, dtype=torch.long))
    with pytest.raises(ValueError, match="mask must be None"):
        fast.begin(torch.zeros(1, 3, dtype=torch.long), torch.ones(1, 3, dtype=torch.bool))
    _, state = fast.begin(torch.zeros(1, 3, dtype=torch.long))
    for wrong in (-1, 52):
        with pytest.raises(ValueError, match=f"id {wrong} must be"):
            fast.step(torch.tensor([wrong]), state)
    for _ in range(124):
        fast.step(torch.tensor([1]), state)
    with pytest.raises(ValueError, match="max_len"):
        fast.step(torch.tensor([1]), state)
