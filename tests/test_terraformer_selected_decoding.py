from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from terraformer.attention_config import (
    CrossAttentionConfig,
    FullAttentionConfig,
    LocalAttentionConfig,
)
from terraformer.config import EncoderDecoderConfig, LanguageModelConfig
from terraformer.encoder_decoder import EncoderDecoder
from terraformer.feed_forward_config import DenseFFConfig
from terraformer.language_model import LanguageModel
from terraformer.selected_cache import SelectedCache, SelectedCacheConfig
from terraformer.selected_decoding import SelectedDecoder
from terraformer.stack_config import StackConfig

CONFIG = SelectedCacheConfig(n_first=2, n_recent=5, n_hashes=2, n_buckets=8, n_per_bucket=2)
FULL = FullAttentionConfig(n_heads=2)
STACK = StackConfig(2, FULL, DenseFFConfig(16), residual="standard")
LANGUAGE_MODEL = LanguageModelConfig(20, 16, STACK)
TRANSFORMER = EncoderDecoderConfig(
    20,
    16,
    STACK,
    StackConfig(
        2, FULL, DenseFFConfig(16), residual="standard", cross_attention=CrossAttentionConfig(2)
    ),
)


def test_texts_are_decoded_side_by_side(assert_near: Callable[..., None]) -> None:
    decoder = SelectedDecoder(LanguageModel(LANGUAGE_MODEL).eval(), CONFIG)
    prompts = torch.randint(20, (3, 30))
    together = decoder.begin(prompts)[1]
    alone = [decoder.begin(prompt[None])[1] for prompt in prompts]
    for ids_t in torch.randint(20, (10, 3)):
        logits, together = decoder.step(ids_t, together)
        for i in range(3):
            expected, alone[i] = decoder.step(ids_t[i : i + 1], alone[i])
            assert_near(logits[i : i + 1], expected)


def test_only_full_attention_is_replaced() -> None:
    stack = StackConfig(
        2, (FULL, LocalAttentionConfig(2, chunk_len=4)), DenseFFConfig(16), residual="standard"
    )
    model = LanguageModel(LanguageModelConfig(20, 16, stack)).eval()
    _, state = SelectedDecoder(model, CONFIG).begin(torch.randint(20, (1, 30)))
    kinds = [isinstance(branches[0].cache, SelectedCache) for branches in state.layers.branches]
    assert kinds == [True, False]


def test_sources_of_one_length_are_selected_from_side_by_side(
    assert_near: Callable[..., None],
) -> None:
    decoder = SelectedDecoder(EncoderDecoder(TRANSFORMER).eval(), CONFIG)
    sources = torch.randint(20, (2, 30))
    logits, state = decoder.begin(sources, torch.ones(2, 30, dtype=torch.bool))
    logits, _ = decoder.step(torch.tensor([4, 5]), state)
    for i in range(2):
        alone = decoder.step(torch.tensor([4 + i]), decoder.begin(sources[i : i + 1])[1])[0]
        assert_near(logits[i : i + 1], alone)


def test_padding_is_never_selected(assert_near: Callable[..., None]) -> None:
    decoder = SelectedDecoder(EncoderDecoder(TRANSFORMER).eval(), CONFIG)
    source = torch.randint(20, (1, 30))
    padded, mask = torch.nn.functional.pad(source, (0, 9)), torch.arange(39)[None] < 30
    token = torch.tensor([4])
    assert_near(
        decoder.step(token, decoder.begin(padded, mask)[1])[0],
        decoder.step(token, decoder.begin(source)[1])[0],
    )


def test_what_cannot_be_selected_from_raises() -> None:
    decoder = SelectedDecoder(EncoderDecoder(TRANSFORMER).eval(), CONFIG)
    mask = torch.arange(30) < torch.tensor([[30], [20]])
    with pytest.raises(ValueError, match="2 sources with padding"):
        decoder.begin(torch.randint(20, (2, 30)), mask)
    plain = SelectedDecoder(LanguageModel(LANGUAGE_MODEL).eval(), CONFIG)
    with pytest.raises(ValueError, match="mask must be None"):
        plain.begin(torch.randint(20, (2, 30)), mask)
