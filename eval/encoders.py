"""Encoders of long documents whose time and memory are compared: ours and transformers'."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from eval.measured_process import Work
from eval.memory_systems import CHUNK_LEN, Sizes, stack_config
from terraformer.attention_config import FullAttentionConfig
from terraformer.blocks import Stack
from terraformer.embedding import embed_tokens
from terraformer.position_config import SinusoidalPositionsConfig
from terraformer.positions import build_positions

_LED_WINDOW = 512  # defaults of the published models, as those of the others
_BIGBIRD_BLOCK_LEN = 64
_LONGT5_RADIUS = 127


@dataclass(frozen=True)
class EncoderSizes:
    """What all encoders have in common.

    Attributes:
        n_layers: Layers.
        d_model, d_ff, n_heads: Of each layer.
        vocab_size: Pieces.
        n_tokens: Tokens of the document.
    """

    n_layers: int = 6
    d_model: int = 512
    d_ff: int = 2048
    n_heads: int = 8
    vocab_size: int = 32000
    n_tokens: int = 16384


class Encoder(nn.Module):
    """Our encoder: embeddings, positions and a reversible stack.

    Args:
        sizes: Of it.
        full_attention: Whether its attention is full, by PyTorch's fused kernel; else it hashes,
            two rounds, as `eval.memory` measures it.
    """

    def __init__(self, sizes: EncoderSizes, full_attention: bool) -> None:
        super().__init__()
        config = stack_config(
            Sizes(sizes.n_layers, sizes.d_model, sizes.d_ff, sizes.n_heads, sizes.vocab_size)
        )
        if full_attention:
            config = replace(config, attention=FullAttentionConfig(sizes.n_heads))
        self.embedding = embed_tokens(sizes.vocab_size, sizes.d_model)
        self.positions = build_positions(SinusoidalPositionsConfig(), sizes.d_model)
        self.stack = Stack(config, sizes.d_model, causal=False)
        self.norm = nn.LayerNorm(sizes.d_model)

    def forward(self, ids: Tensor) -> Tensor:
        """Encodes documents without padding, [B, L], int64, to [B, L, D]."""
        x = self.embedding(ids)
        return self.norm(self.stack(x if self.positions is None else self.positions(x, 0)))


def _reformer(sizes: EncoderSizes) -> nn.Module:
    from transformers import ReformerConfig, ReformerModel

    return ReformerModel(
        ReformerConfig(
            vocab_size=sizes.vocab_size,
            hidden_size=sizes.d_model,
            feed_forward_size=sizes.d_ff,
            num_attention_heads=sizes.n_heads,
            attention_head_size=sizes.d_model // sizes.n_heads,
            attn_layers=["lsh"] * sizes.n_layers,
            num_hashes=2,
            lsh_attn_chunk_length=CHUNK_LEN,
            lsh_num_chunks_after=1,
            max_position_embeddings=sizes.n_tokens,
            axial_pos_shape=(sizes.n_tokens // CHUNK_LEN, CHUNK_LEN),
            axial_pos_embds_dim=(sizes.d_model // 2, sizes.d_model - sizes.d_model // 2),
            use_cache=False,
        )
    )


def _led(sizes: EncoderSizes) -> nn.Module:
    from transformers import LEDConfig, LEDModel

    config = LEDConfig(
        vocab_size=sizes.vocab_size,
        max_encoder_position_embeddings=sizes.n_tokens,
        encoder_layers=sizes.n_layers,
        decoder_layers=1,
        encoder_attention_heads=sizes.n_heads,
        encoder_ffn_dim=sizes.d_ff,
        decoder_ffn_dim=sizes.d_ff,
        d_model=sizes.d_model,
        attention_window=_LED_WINDOW,
    )
    return LEDModel(config).get_encoder()


def _longt5(sizes: EncoderSizes, attention: str) -> nn.Module:
    from transformers import LongT5Config, LongT5EncoderModel

    return LongT5EncoderModel(
        LongT5Config(
            vocab_size=sizes.vocab_size,
            d_model=sizes.d_model,
            d_kv=sizes.d_model // sizes.n_heads,
            d_ff=sizes.d_ff,
            num_layers=sizes.n_layers,
            num_heads=sizes.n_heads,
            local_radius=_LONGT5_RADIUS,
            encoder_attention_type=attention,
        )
    )


def _bigbird(sizes: EncoderSizes) -> nn.Module:
    from transformers import BigBirdPegasusConfig, BigBirdPegasusModel

    config = BigBirdPegasusConfig(
        vocab_size=sizes.vocab_size,
        max_position_embeddings=sizes.n_tokens,
        encoder_layers=sizes.n_layers,
        decoder_layers=1,
        encoder_attention_heads=sizes.n_heads,
        encoder_ffn_dim=sizes.d_ff,
        decoder_ffn_dim=sizes.d_ff,
        d_model=sizes.d_model,
        block_size=_BIGBIRD_BLOCK_LEN,
        attention_type="block_sparse",
    )
    return BigBirdPegasusModel(config).get_encoder()


ENCODERS: dict[str, Callable[[EncoderSizes], nn.Module]] = {
    "terraformer": lambda sizes: Encoder(sizes, full_attention=False),
    "full-attention": lambda sizes: Encoder(sizes, full_attention=True),
    "reformer": _reformer,
    "led": _led,
    "longt5": lambda sizes: _longt5(sizes, "transient-global"),
    "longt5-local": lambda sizes: _longt5(sizes, "local"),
    "bigbird": _bigbird,
}
"""Builds an untrained encoder of given sizes."""


def prepare_encoder(name: str, sizes: EncoderSizes) -> Work:
    """Prepares the encoding of one document of random tokens, without gradients.

    Args:
        name: Of `ENCODERS`.
        sizes: Of the encoder; `n_tokens` is a multiple of 64.
    """
    torch.manual_seed(0)
    model = ENCODERS[name](sizes).eval()
    ids = torch.randint(3, sizes.vocab_size, (1, sizes.n_tokens))

    def encode() -> None:
        with torch.inference_mode():
            model(ids)

    return Work(encode, sum(parameter.numel() for parameter in model.parameters()))
