"""Decoding with selected caches in the place of full ones."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from terraformer.attention import AttentionState, KeyValueCache
from terraformer.blocks import StackState
from terraformer.cache import GrowingCache
from terraformer.cross_attention import CrossAttentionState
from terraformer.encoder_decoder import EncoderDecoder
from terraformer.language_model import LanguageModel, TokenState
from terraformer.residual import ResidualState
from terraformer.selected_cache import SelectedCache, SelectedCacheConfig


class SelectedDecoder:
    """Decodes like a model whose layers of full attention read some positions only.

    Prompts and sources are read with full attention, by the model itself. Layers of other attention
    stay as they are.

    Args:
        model: In evaluation.
        config: What is read; attention to an encoder has no recent positions and selects among all
            but the first.
    """

    def __init__(self, model: LanguageModel | EncoderDecoder, config: SelectedCacheConfig) -> None:
        self.model = model
        self.config = config

    @torch.no_grad()
    def begin(self, ids: Tensor, mask: Tensor | None = None) -> tuple[Tensor, TokenState]:
        """Reads prompts [B, P], or the sources [B, S] of an encoder and decoder with their mask.

        Returns:
            Logits of the next token, [B, vocab_size]; the state from which `step` goes on.
        Raises:
            ValueError: if several sources have padding, or there is a mask for a language model.
        """
        if isinstance(self.model, EncoderDecoder):
            logits, state = self.model.begin(ids, mask)
        elif mask is None:
            logits, state = self.model.begin(ids)
        else:
            raise ValueError("a language model's prompt has no padding: mask must be None")
        select_caches(state.layers, self.config)
        return logits, state

    def step(self, ids_t: Tensor, state: TokenState) -> tuple[Tensor, TokenState]:
        """Reads one more token, [B], int64; returns the logits of the next and the state."""
        return self.model.step(ids_t, state)


def select_caches(layers: StackState | ResidualState, config: SelectedCacheConfig) -> None:
    """Puts selected caches in the place of full ones, in a decoder's state, which is changed.

    Raises:
        ValueError: if several sources have padding.
    """
    branches = layers.branches if isinstance(layers, ResidualState) else layers
    for states in branches:
        for state in states:
            if isinstance(state, AttentionState) and _is_full(state.cache):
                state.cache = SelectedCache(state.cache.k.rows, state.cache.v.rows, config)
    if isinstance(layers, ResidualState):
        layers.cross[:] = [_select_memory(memory, config) for memory in layers.cross]


def _is_full(cache: Any) -> bool:
    return isinstance(cache, KeyValueCache) and isinstance(cache.k, GrowingCache)


def _select_memory(
    memory: CrossAttentionState, config: SelectedCacheConfig
) -> CrossAttentionState | SelectedCache:
    k, v = memory.k, memory.v
    if memory.mask is not None:
        if len(k) > 1 and not memory.mask.all():
            raise ValueError(f"{len(k)} sources with padding: selected caches take one at a time")
        k, v = k[:, :, memory.mask[0]], v[:, :, memory.mask[0]]
    if k.shape[2] <= config.n_first + config.n_recent:
        return memory
    return SelectedCache(k, v, config, n_recent=0)
