"""Training steps whose memory is compared: our stacks and models, and those of transformers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eval.measured_process import Work
from terraformer.attention_config import LSHAttentionConfig
from terraformer.blocks import Stack
from terraformer.config import EncoderDecoderConfig
from terraformer.encoder_decoder import EncoderDecoder
from terraformer.feed_forward_config import SparseFFConfig
from terraformer.position_config import SinusoidalPositionsConfig
from terraformer.residual import ResidualStack
from terraformer.stack_config import SRUConfig, StackConfig

CHUNK_LEN = 64  # of hash-sorted chunks, ours and the Reformer's
_FEED_FORWARD_CHUNK_LEN = 2048
_LED_WINDOW = 512  # its default


@dataclass(frozen=True)
class Sizes:
    """What all systems have in common.

    Attributes:
        n_layers: Layers of an encoder, and as many of a decoder.
        d_model, d_ff, n_heads: Of each layer.
        vocab_size: Pieces.
        n_source: Tokens of the document.
        n_target: Tokens of its summary, which the loss is taken of.
    """

    n_layers: int = 6
    d_model: int = 512
    d_ff: int = 2048
    n_heads: int = 8
    vocab_size: int = 32000
    n_source: int = 65536
    n_target: int = 512


STACKS = ("reversible", "stored", "standard")
_TINY = Sizes(1, 64, 128, 2, 512, 4096, 64)  # of several chunks everywhere


def prepare_stack(kind: str, sizes: Sizes) -> Work:
    """Prepares a training step of a stack of `sizes.n_layers` over `sizes.n_source` states.

    A tiny one has run before, so that what torch loads at the first step is not counted.

    Args:
        kind: One of `STACKS`: "reversible" computes activations anew, "stored" is the same stack
            but keeps them, "standard" has one residual stream and keeps them.
        sizes: Of the stack; vocabulary and target are not used.
    """
    _stack(kind, _TINY).run()
    return _stack(kind, sizes)


def _stack(kind: str, sizes: Sizes) -> Work:
    torch.manual_seed(0)
    config = stack_config(sizes, "standard" if kind == "standard" else "reversible")
    if kind == "standard":
        stack = ResidualStack(config, sizes.d_model, causal=False)
    else:
        stack = Stack(config, sizes.d_model, causal=False, recompute=kind == "reversible")
    states = torch.randn(1, sizes.n_source, sizes.d_model)
    return _work(stack, lambda: stack(states).square().mean())


def prepare_terraformer(sizes: Sizes) -> Work:
    """Prepares a training step of our model: reversible, hashed, sparse, with recurrence."""
    torch.manual_seed(0)
    config = EncoderDecoderConfig(
        vocab_size=sizes.vocab_size,
        d_model=sizes.d_model,
        encoder=stack_config(sizes),
        decoder=stack_config(sizes),
        source_positions=SinusoidalPositionsConfig(),
        target_positions=SinusoidalPositionsConfig(),
    )
    model = EncoderDecoder(config)
    source, target = _ids(sizes)
    return _work(model, lambda: model.loss(source, target))


def prepare_led(sizes: Sizes, checkpointing: bool) -> Work:
    """Prepares a training step of transformers' LED: windows and one global token.

    Args:
        sizes: Of the model.
        checkpointing: Whether each layer's activations are computed anew.
    """
    from transformers import LEDConfig, LEDForConditionalGeneration

    torch.manual_seed(0)
    config = LEDConfig(
        vocab_size=sizes.vocab_size,
        max_encoder_position_embeddings=max(sizes.n_source, _LED_WINDOW),
        max_decoder_position_embeddings=sizes.n_target,
        encoder_layers=sizes.n_layers,
        decoder_layers=sizes.n_layers,
        encoder_attention_heads=sizes.n_heads,
        decoder_attention_heads=sizes.n_heads,
        encoder_ffn_dim=sizes.d_ff,
        decoder_ffn_dim=sizes.d_ff,
        d_model=sizes.d_model,
        attention_window=_LED_WINDOW,
        use_cache=False,
    )
    model = LEDForConditionalGeneration(config).train()
    if checkpointing:
        model.gradient_checkpointing_enable()
    source, target = _ids(sizes)
    global_mask = torch.zeros_like(source)
    global_mask[:, 0] = 1

    def loss() -> Tensor:
        return model(
            input_ids=source,
            attention_mask=torch.ones_like(source),
            global_attention_mask=global_mask,
            labels=target,
        ).loss

    return _work(model, loss)


def prepare_reformer(sizes: Sizes) -> Work:
    """Prepares a training step of transformers' Reformer over the document and its summary.

    A Reformer has no encoder: it has as many layers as encoder and decoder together, all hashed.
    The loss is taken of the summary alone, as in the other systems, which spares it the logits of
    the document.
    """
    from transformers import ReformerConfig, ReformerModelWithLMHead

    torch.manual_seed(0)
    n_tokens = sizes.n_source + sizes.n_target
    config = ReformerConfig(
        vocab_size=sizes.vocab_size,
        hidden_size=sizes.d_model,
        feed_forward_size=sizes.d_ff,
        num_attention_heads=sizes.n_heads,
        attention_head_size=sizes.d_model // sizes.n_heads,
        attn_layers=["lsh"] * (2 * sizes.n_layers),
        num_hashes=2,
        lsh_attn_chunk_length=CHUNK_LEN,
        max_position_embeddings=n_tokens,
        axial_pos_shape=(n_tokens // CHUNK_LEN, CHUNK_LEN),
        axial_pos_embds_dim=(sizes.d_model // 2, sizes.d_model - sizes.d_model // 2),
        is_decoder=True,
        use_cache=False,
    )
    model = ReformerModelWithLMHead(config).train()
    source, target = _ids(sizes)
    ids = torch.cat([source, target], dim=1)

    def loss() -> Tensor:
        states = model.reformer(ids, torch.ones_like(ids)).last_hidden_state
        logits = model.lm_head(states[:, sizes.n_source - 1 : -1])
        return F.cross_entropy(logits.flatten(0, 1), target.flatten())

    return _work(model, loss)


SYSTEMS: dict[str, Callable[[Sizes], Work]] = {
    "terraformer": prepare_terraformer,
    "led": lambda sizes: prepare_led(sizes, checkpointing=False),
    "led-checkpointing": lambda sizes: prepare_led(sizes, checkpointing=True),
    "reformer": prepare_reformer,
}


def prepare_system(name: str, sizes: Sizes) -> Work:
    """Prepares a training step of one of `SYSTEMS`: forward, loss and backward.

    A tiny one has run before, so that what torch loads at the first step is not counted.
    """
    SYSTEMS[name](_TINY).run()
    return SYSTEMS[name](sizes)


def stack_config(sizes: Sizes, residual: str = "reversible") -> StackConfig:
    """Returns the layers of our systems: hashed attention, sparse feed-forward, recurrence."""
    return StackConfig(
        sizes.n_layers,
        LSHAttentionConfig(n_heads=sizes.n_heads, n_hashes=2, chunk_len=CHUNK_LEN),
        SparseFFConfig(
            d_ff=sizes.d_ff, block_size=64, d_lowrank=64, chunk_len=_FEED_FORWARD_CHUNK_LEN
        ),
        SRUConfig(),
        residual="standard" if residual == "standard" else "reversible",
    )


def _ids(sizes: Sizes) -> tuple[Tensor, Tensor]:
    """Random ids of a document and its summary, [1, L], none of them padding."""
    shapes = (1, sizes.n_source), (1, sizes.n_target)
    source, target = (torch.randint(3, sizes.vocab_size, shape) for shape in shapes)
    return source, target


def _work(model: nn.Module, loss: Callable[[], Tensor]) -> Work:
    """Makes a step of `loss` on a model whose gradients stand in memory already."""
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 0.0)
    return Work(lambda: loss().backward(), sum(p.numel() for p in model.parameters()))
