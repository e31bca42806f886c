"""Models by the type of their config."""

from __future__ import annotations

from terraformer.config import (
    EncoderDecoderConfig,
    LanguageModelConfig,
    ModelConfig,
    TerraformerConfig,
)
from terraformer.encoder_decoder import EncoderDecoder
from terraformer.language_model import LanguageModel
from terraformer.model import Terraformer

Model = Terraformer | LanguageModel | EncoderDecoder


def build_model(config: ModelConfig) -> Model:
    """Returns a new model.

    Args:
        config: Its type chooses the model.
    Raises:
        ValueError: if it is not the config of a model.
    """
    if isinstance(config, TerraformerConfig):
        return Terraformer(config)
    if isinstance(config, LanguageModelConfig):
        return LanguageModel(config)
    if isinstance(config, EncoderDecoderConfig):
        return EncoderDecoder(config)
    raise ValueError(f"no model for a config of type {type(config).__name__}")
