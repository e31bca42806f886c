from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from kernels import decoding_step
from terraformer.attention_config import (
    AttentionConfig,
    ConvolutionalQKVConfig,
    CrossAttentionConfig,
    DenseQKVConfig,
    FullAttentionConfig,
    LocalAttentionConfig,
    LSHAttentionConfig,
)
from terraformer.config import EncoderDecoderConfig, LanguageModelConfig
from terraformer.decoding_caches import ChainSlots
from terraformer.encoder_decoder import EncoderDecoder
from terraformer.fast_decoding import FastDecoder, fast_or_plain
from terraformer.feed_forward_config import DenseFFConfig
from terraformer.language_model import LanguageModel
from terraformer.selected_cache import SelectedCacheConfig
from terraformer.selected_decoding import SelectedDecoder
from terraformer.stack_config import StackConfig

BUILT = decoding_step.unavailable() is None
pytestmark = pytest.mark.skipif(not BUILT, reason=str(decoding_step.unavailable()))

SHARED = DenseQKVConfig(share_qk=True)
CONVOLUTIONAL = ConvolutionalQKVConfig(n_modules=4)
SELECTED = SelectedCacheConfig(
    n_first=2, n_recent=7, n_hashes=3, n_buckets=8, n_per_bucket=3, n_probes=2
)
CACHES = {
    "selected": SELECTED,
    "selected-alone": replace(SELECTED, mean_of_rest=False),
    "window": replace(SELECTED, n_hashes=0, mean_of_rest=False),
    "window-and-rest": replace(SELECTED, n_hashes=0),
    "least": SelectedCacheConfig(0, 1, 1, 2, 1, 1, mean_of_rest=False),
}
FULL: dict[str, AttentionConfig] = {
    "dense": FullAttentionConfig(n_heads=4),
    "shared": FullAttentionConfig(n_heads=4, qkv=SHARED),
    "rotary": FullAttentionConfig(n_heads=3, rotary=True),
    "shared-rotary": FullAttentionConfig(n_heads=3, rotary=True, qkv=SHARED),
    "convolutional": FullAttentionConfig(n_heads=4, qkv=CONVOLUTIONAL),
}
LSH: dict[str, AttentionConfig] = {
    "shared": LSHAttentionConfig(n_heads=4, n_hashes=2, chunk_len=5),
    "apart": LSHAttentionConfig(n_heads=4, chunk_len=4, qkv=DenseQKVConfig()),
    "rotary": LSHAttentionConfig(n_heads=3, n_hashes=3, chunk_len=4, rotary=True),
    "convolutional": LSHAttentionConfig(n_heads=4, chunk_len=6, qkv=CONVOLUTIONAL),
    "chunks-of-one": LSHAttentionConfig(n_heads=4, chunk_len=1, n_chunks_before=0),
    "two-digits": LSHAttentionConfig(n_heads=4, n_hashes=2, chunk_len=3, n_buckets=260),
}


def language_model(attention: AttentionConfig, **stack: object) -> LanguageModel:
    """A model with biases and gains, which start next to nothing, of sizes that matter."""
    config = StackConfig(2, attention, DenseFFConfig(50), residual="standard")
    model = LanguageModel(LanguageModelConfig(52, 36, replace(config, **stack))).eval()
    randomize(model)
    return model


def randomize(model: nn.Module) -> None:
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() <= 1:
                parameter.add_(0.2 * torch.randn_like(parameter))


def decode(
    decoder: FastDecoder | SelectedDecoder | LanguageModel, *begin: Tensor, n: int = 60
) -> Tensor:
    """Logits after the beginning and after each of n tokens."""
    steps = torch.randint(52, (n, 1), generator=torch.Generator().manual_seed(5))
    logits, state = decoder.begin(*begin)
    out = [logits]
    for ids_t in steps:
        logits, state = decoder.step(ids_t, state)  # pyright: ignore[reportArgumentType]
        out.append(logits)
    return torch.cat(out)


@pytest.mark.parametrize(
    ("attention", "cache", "n_prompt"),
    [(attention, cache, 17) for attention in FULL for cache in ("selected", "selected-alone")]
    + [("shared", cache, 0) for cache in CACHES]
    + [("dense", cache, 8) for cache in CACHES],
)
def test_selected_caches(
    attention: str, cache: str, n_prompt: int, assert_near: Callable[..., None]
) -> None:
    model, config = language_model(FULL[attention]), CACHES[cache]
    prompt = torch.randint(52, (1, n_prompt))
    plain = decode(SelectedDecoder(model, config), prompt)
    assert_near(decode(FastDecoder.of(model, cache=config), prompt), plain)
    assert not torch.allclose(plain, decode(model, prompt), atol=1e-3)


@pytest.mark.parametrize(
    ("attention", "n_prompt"), [(attention, 23) for attention in LSH] + [("shared", 0)]
)
def test_lsh_attention(attention: str, n_prompt: int, assert_near: Callable[..., None]) -> None:
    model = language_model(LSH[attention])
    prompt = torch.randint(52, (1, n_prompt))
    assert_near(decode(FastDecoder.of(model), prompt), decode(model, prompt))


def test_where_all_fits_the_cache_changes_nothing(assert_near: Callable[..., None]) -> None:
    model = language_model(FULL["dense"])
    prompt = torch.randint(52, (1, 9))
    for config in (replace(SELECTED, n_recent=68), replace(SELECTED, n_first=69)):
        fast = decode(FastDecoder.of(model, cache=config), prompt)
        assert_near(fast, decode(model, prompt))
        assert torch.equal(decode(SelectedDecoder(model, config), prompt), decode(model, prompt))


@pytest.mark.parametrize("n_threads", [2, 3])
@pytest.mark.parametrize("attention", [FULL["rotary"], LSH["shared"]], ids=["full", "lsh"])
def test_threads_share_heads(
    attention: AttentionConfig, n_threads: int, assert_near: Callable[..., None]
) -> None:
    model = language_model(attention, residual="reversible")
    prompt = torch.randint(52, (1, 3))
    fast = FastDecoder.of(model, n_threads, cache=SELECTED)
    assert_near(decode(fast, prompt), decode(SelectedDecoder(model, SELECTED), prompt))


@pytest.mark.parametrize("simd", decoding_step.instruction_sets() if BUILT else [])
@pytest.mark.parametrize("attention", [FULL["convolutional"], LSH["rotary"]], ids=["full", "lsh"])
def test_every_instruction_set_does_the_same(
    attention: AttentionConfig, simd: str, assert_near: Callable[..., None]
) -> None:
    model = language_model(attention)
    prompt = torch.randint(52, (1, 3))
    fast = FastDecoder.of(model, instruction_set=simd, cache=SELECTED)
    assert_near(decode(fast, prompt), decode(SelectedDecoder(model, SELECTED), prompt))


def test_other_attention_keeps_its_own_cache(assert_near: Callable[..., None]) -> None:
    local = LocalAttentionConfig(n_heads=2, chunk_len=5)
    model = language_model((FULL["dense"], local), n_layers=3)  # pyright: ignore
    prompt = torch.randint(52, (1, 20))
    fast = FastDecoder.of(model, cache=SELECTED)
    assert_near(decode(fast, prompt), decode(SelectedDecoder(model, SELECTED), prompt))
    alone = language_model(local)
    assert torch.equal(decode(SelectedDecoder(alone, SELECTED), prompt), decode(alone, prompt))


def test_buckets_of_lsh_attention_follow_the_length() -> None:
    fast = FastDecoder.of(language_model(LSH["shared"]))
    _, state = fast.begin(torch.zeros(1, 0, dtype=torch.long))
    (slots,) = {cache for cache in fast._caches if isinstance(cache, ChainSlots)} - {
        fast._caches[1]
    }
    sizes = set()
    for token in torch.randint(52, (120, 1)):
        _, state = fast.step(token, state)
        sizes.add(int(state.slots[slots.digits][2]))
    assert sizes == {2, 4, 8, 16, 32}


CROSS = EncoderDecoderConfig(
    vocab_size=52,
    d_model=36,
    encoder=StackConfig(1, FULL["dense"], DenseFFConfig(40), residual="standard"),
    decoder=StackConfig(
        2,
        FULL["dense"],
        DenseFFConfig(40),
        residual="standard",
        cross_attention=CrossAttentionConfig(n_heads=3),
    ),
)
JOINED = replace(
    CROSS,
    decoder=replace(CROSS.decoder, cross_attention=None, residual="reversible"),
    pass_both_streams=False,
)


@pytest.mark.parametrize("n_real", [70, 50, 9, 0])
@pytest.mark.parametrize("config", [CROSS, JOINED], ids=["cross", "joined"])
def test_sources_are_selected_from(
    config: EncoderDecoderConfig, n_real: int, assert_near: Callable[..., None]
) -> None:
    if config is JOINED and not n_real:
        return
    model = EncoderDecoder(config).eval()
    randomize(model)
    source, mask = torch.randint(52, (1, 70)), torch.arange(70)[None] < n_real
    fast = FastDecoder.of(model, cache=SELECTED)
    plain = decode(SelectedDecoder(model, SELECTED), source, mask, n=30)
    assert_near(decode(fast, source, mask, n=30), plain)


def test_a_state_of_the_model_is_taken_over(assert_near: Callable[..., None]) -> None:
    model = language_model(FULL["dense"])
    prompt = torch.randint(52, (1, 30))
    fast = FastDecoder.of(model, cache=SELECTED)
    expected = fast.step(torch.tensor([3]), fast.begin(prompt)[1])[0]
    assert_near(fast.step(torch.tensor([3]), fast.take_over(model.begin(prompt)[1]))[0], expected)


def test_without_the_extension_pytorch_selects(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("terraformer.fast_decoding.unavailable", lambda: "not built")
    model = language_model(FULL["dense"])
    assert isinstance(fast_or_plain(model, cache=SELECTED), SelectedDecoder)
    assert fast_or_plain(model) is model
