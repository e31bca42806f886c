"""Decoding of a dense Transformer as fast as PyTorch does it: what sparse decoding must beat."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from terraformer.attention_config import DenseQKVConfig, FullAttentionConfig
from terraformer.encoder_decoder import EncoderDecoder
from terraformer.feed_forward_config import DenseFFConfig
from terraformer.language_model import LanguageModel
from terraformer.residual import ResidualStack


class DenseDecoder(nn.Module):
    """Decodes like the model whose weights it takes, one text at a time.

    Queries, keys and values are one product, and caches have room from the start, so that a step
    is a fixed list of matrix products and PyTorch's fused attention. Caches are random until steps
    fill them; how long a step takes does not depend on what they hold.

    Args:
        model: Dense, with full attention, standard residuals and no positions.
        room: Positions of the caches.
        memory: Keys and values of an encoder for each block, [1, H, M, K] each; None where the
            model has none.
    Raises:
        ValueError: if the model has other layers.
    """

    def __init__(
        self,
        model: LanguageModel | EncoderDecoder,
        room: int,
        memory: list[tuple[Tensor, Tensor]] | None = None,
    ) -> None:
        super().__init__()
        config = model.config.decoder
        attention, feed_forward = config.attention, config.feed_forward
        if not (
            isinstance(attention, FullAttentionConfig)
            and attention == FullAttentionConfig(attention.n_heads)
            and attention.qkv == DenseQKVConfig()
            and isinstance(feed_forward, DenseFFConfig)
            and config.residual == "standard"
            and config.n_attention == 1
        ):
            raise ValueError(f"decoder ({config}) must be dense, with standard residuals")
        if _positions(model) is not None:
            raise ValueError("the model must have no positions")
        self.embedding = model.embedding
        stack = cast(ResidualStack, model.decoder)
        cross = memory or [None] * config.n_layers
        self.blocks = nn.ModuleList(
            _Block(cast(Any, block), attention.n_heads, room, encoded)
            for block, encoded in zip(stack.blocks, cross, strict=True)
        )
        self.norm, self.head = model.norm, model.head

    def step(self, ids: Tensor, position: int) -> Tensor:
        """Reads one token, [1], int64, at a position; returns the logits [1, vocab_size]."""
        x = self.embedding(ids)
        for block in self.blocks:
            x = block(x, position)
        return self.head(self.norm(x))

    def forward(self, ids: Tensor, position: int) -> Tensor:
        """The same as `step`."""
        return self.step(ids, position)


class _Block(nn.Module):
    cache: Tensor  # keys and values, [2, 1, H, room, K]

    def __init__(
        self, block: Any, n_heads: int, room: int, memory: tuple[Tensor, Tensor] | None
    ) -> None:
        super().__init__()
        attention, feed_forward = block.own()
        layer = attention.attention
        d_model = layer.output.w_o.in_features
        self.n_heads = n_heads
        self.norm = attention.norm
        self.qkv = nn.Linear(d_model, 3 * d_model)
        parts = layer.qkv.w_q, layer.qkv.w_k, layer.qkv.w_v
        with torch.no_grad():
            self.qkv.weight.copy_(torch.cat([part.weight for part in parts]))
            self.qkv.bias.copy_(torch.cat([part.bias for part in parts]))
        self.w_o = layer.output.w_o
        self.register_buffer("cache", torch.randn(2, 1, n_heads, room, d_model // n_heads))
        self.cross = None
        if block.cross is not None:
            self.cross = nn.ModuleDict(
                {
                    "norm": block.cross.norm,
                    "w_q": block.cross.attention.w_q,
                    "w_o": block.cross.attention.w_o,
                }
            )
            self.memory = memory
        self.feed_forward_norm = feed_forward.norm
        self.w1, self.w2 = feed_forward.feed_forward.w1, feed_forward.feed_forward.w2

    def forward(self, x: Tensor, position: int) -> Tensor:
        q, k, v = self.qkv(self.norm(x)).view(3, 1, self.n_heads, 1, -1)
        self.cache[0, :, :, position] = k[:, :, 0]
        self.cache[1, :, :, position] = v[:, :, 0]
        k, v = self.cache[:, :, :, : position + 1]
        x = x + self.w_o(F.scaled_dot_product_attention(q, k, v).view_as(x))
        if self.cross is not None and self.memory is not None:
            q = self.cross["w_q"](self.cross["norm"](x)).view(1, self.n_heads, 1, -1)
            attended = F.scaled_dot_product_attention(q, *self.memory)
            x = x + self.cross["w_o"](attended.view_as(x))
        return x + self.w2(F.relu(self.w1(self.feed_forward_norm(x))))


def dense_variants(
    decoder: DenseDecoder, int8: bool = False
) -> dict[str, Callable[[Tensor, int], Tensor]]:
    """Returns the ways in which PyTorch can run a dense decoder's step.

    Args:
        decoder: In evaluation.
        int8: Whether linear layers are quantized dynamically, as torch.ao does it.
    Returns:
        "eager", and "compiled" where it is not quantized and a compiler is there.
    """
    if int8:
        quantized = torch.ao.quantization.quantize_dynamic(decoder, {nn.Linear}, torch.qint8)
        return {"eager": cast(DenseDecoder, quantized)}
    variants: dict[str, Callable[[Tensor, int], Tensor]] = {"eager": decoder}
    if shutil.which(os.environ.get("CXX", "g++")):
        variants["compiled"] = torch.compile(decoder, dynamic=False)
    return variants


def _positions(model: LanguageModel | EncoderDecoder) -> nn.Module | None:
    return model.target_positions if isinstance(model, EncoderDecoder) else model.positions
