"""What the extractor's reading of tokens learns by another task first, as a start."""

from __future__ import annotations

from pathlib import Path

from finetune.distillation import copy_weights
from terraformer.attention_config import FullAttentionConfig
from terraformer.checkpoint import TOKENIZER_FILE, load_model, save_checkpoint
from terraformer.config import EncoderDecoderConfig, TerraformerConfig
from terraformer.encoder_decoder import EncoderDecoder
from terraformer.model import Terraformer
from terraformer.stack_config import StackConfig


def pretraining_config(config: TerraformerConfig) -> EncoderDecoderConfig:
    """Returns a model that writes, whose encoder is the extractor's over tokens.

    Its decoder, one layer of full attention, is thrown away after pretraining.
    """
    layer = config.token_encoder
    attention = FullAttentionConfig(n_heads=2, rotary=True)
    return EncoderDecoderConfig(
        vocab_size=config.vocab_size,
        d_model=config.d_token,
        encoder=layer,
        decoder=StackConfig(1, attention, layer.feed_forward, layer.sru),
        dropout=config.dropout,
    )


def start_from(pretrained: Path, config: TerraformerConfig, folder: Path) -> None:
    """Writes an extractor that is random but for what it shares with a pretrained model.

    Args:
        pretrained: Checkpoint of a model with the config of `pretraining_config`.
        config: Of the extractor.
        folder: Checkpoint to write.
    """
    source, _ = load_model(pretrained)
    assert isinstance(source, EncoderDecoder)
    model = Terraformer(config)
    n_copied = copy_weights(source.embedding, model.embedding.table)
    n_copied += copy_weights(source.encoder, model.token_encoder)
    n_shared = len(source.embedding.state_dict()) + len(source.encoder.state_dict())
    assert n_copied == n_shared, f"only {n_copied} of {n_shared} weights of {pretrained} fit"
    save_checkpoint(folder, model, pretrained / TOKENIZER_FILE)
