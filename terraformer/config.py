"""The models' configurations: frozen, nested, and the same after a trip through JSON."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal, Self, get_args

from terraformer import (
    attention_config,
    feed_forward_config,
    position_config,
    stack_config,
    writing_config,
)
from terraformer.attention_config import AttentionConfig, FullAttentionConfig, LSHAttentionConfig
from terraformer.feed_forward_config import SparseFFConfig
from terraformer.position_config import PositionsConfig
from terraformer.stack_config import (
    CopyConfig,
    DenseHeadConfig,
    SRUConfig,
    StackConfig,
    VocabularyHeadConfig,
)
from terraformer.writing_config import WritingConfig


@dataclass(frozen=True)
class PickingConfig:
    """How sentences are picked from the pointer's probabilities; tuned on validation.

    Attributes:
        stop_threshold: Probability of the stop at which a summary of normal length ends.
        redundancy_penalty: Taken from a sentence's logit for each unit of its largest tf-idf cosine
            with a picked sentence.
        findings_bonus: Added to the logits of sentences of methods and results. Abstracts take as
            much from there, but of more sentences: without it their best is seldom the best of all.
        max_picks: Most sentences of a summary of normal length.
    """

    stop_threshold: float = 0.1
    redundancy_penalty: float = 0.0
    findings_bonus: float = 0.0
    max_picks: int = 24


class JsonConfig:
    """A config that goes to JSON and comes back the same."""

    def to_dict(self) -> dict[str, Any]:
        """Returns a JSON-able dictionary; nested configs carry their type's name in "type"."""
        return _to_dict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Inverse of `to_dict`; fields that are missing take their defaults.

        Raises:
            ValueError: on an unknown field or type, naming it.
        """
        config = _from_dict({"type": cls.__name__, **values})
        if not isinstance(config, cls):
            raise ValueError(f"expected a {cls.__name__}, got a {type(config).__name__}")
        return config


@dataclass(frozen=True)
class TerraformerConfig(JsonConfig):
    """A Terraformer that picks sentences.

    Attributes:
        vocab_size: Pieces of the tokenizer.
        d_token: Width of the token states: most of the work is done on them.
        d_model: Width of the states of sentences and picks, D.
        n_features: Features given to a sentence state beside its tokens.
        token_encoder: Over the tokens of the document, both directions.
        sentence_encoder: Over the sentence states, both directions.
        decoder: Over [sentence states ‖ picked sentences], causal.
        picking: How picks are made of the pointer's probabilities.
        dropout: Rate on branches of the residual streams in training.
        layer_norm_epsilon: Added to the variance.
    """

    vocab_size: int = 24576
    d_token: int = 96
    d_model: int = 128
    n_features: int = 78
    token_encoder: StackConfig = field(
        default_factory=lambda: StackConfig(
            n_layers=1,
            attention=LSHAttentionConfig(n_heads=2, chunk_len=32),
            feed_forward=SparseFFConfig(d_ff=192, block_size=8, d_lowrank=16),
            sru=SRUConfig(),
        )
    )
    sentence_encoder: StackConfig = field(
        default_factory=lambda: StackConfig(
            n_layers=2,
            attention=LSHAttentionConfig(chunk_len=256),
            feed_forward=SparseFFConfig(d_ff=256, block_size=8, d_lowrank=16),
            sru=SRUConfig(),
        )
    )
    decoder: StackConfig = field(
        default_factory=lambda: StackConfig(
            n_layers=1,
            attention=FullAttentionConfig(),
            feed_forward=SparseFFConfig(d_ff=256, block_size=8, d_lowrank=16),
            sru=SRUConfig(),
        )
    )
    picking: PickingConfig = field(default_factory=PickingConfig)
    dropout: float = 0.1
    layer_norm_epsilon: float = 1e-6

    def __post_init__(self) -> None:
        _check_heads(self, "token_encoder", "d_token")
        _check_heads(self, "sentence_encoder", "d_model")
        _check_heads(self, "decoder", "d_model")


@dataclass(frozen=True)
class LanguageModelConfig(JsonConfig):
    """A causal stack over tokens with a loss layer: Scaling Transformer or Reformer.

    Attributes:
        vocab_size: Pieces of the tokenizer.
        d_model: Width of the states, D.
        decoder: The stack, causal.
        positions: Added to the embeddings; None where attention or recurrence knows the order.
        head: The loss layer.
        join_streams: How two streams become one at the end: their "mean", or both "concatenated",
            2 * d_model wide, as in Reformer.
        dropout: Rate on embeddings and on branches of the residual streams in training.
        layer_norm_epsilon: Added to the variance.
    """

    vocab_size: int
    d_model: int
    decoder: StackConfig
    positions: PositionsConfig | None = None
    head: VocabularyHeadConfig = field(default_factory=DenseHeadConfig)
    join_streams: Literal["mean", "concatenated"] = "mean"
    dropout: float = 0.1
    layer_norm_epsilon: float = 1e-6

    def __post_init__(self) -> None:
        _check_heads(self, "decoder", "d_model")
        _check_vocabulary(self.vocab_size, self.head)
        if self.join_streams == "concatenated" and self.decoder.residual != "reversible":
            raise ValueError("join_streams='concatenated' needs decoder.residual='reversible'")


@dataclass(frozen=True)
class EncoderDecoderConfig(JsonConfig):
    """An encoder and a decoder over tokens with a loss layer.

    Without `decoder.cross_attention` the decoder reads [source states ‖ target states], joined
    without padding between them (Terraformer); with it, it attends to the source states (Scaling
    Transformer, Switch Transformer).

    Attributes:
        vocab_size: Pieces of the tokenizer, of source and target; their embedding is shared.
        d_model: Width of the states, D.
        encoder: Over the source, both directions.
        decoder: Over the target, or source and target joined; causal.
        source_positions: Added to the source's embeddings.
        target_positions: Added to the target's embeddings; the weights are not shared.
        head: The loss layer.
        copy: A path by which tokens of the source are copied; None if there is none.
        pass_both_streams: Whether both streams of a reversible encoder go on into the decoder;
            else their mean, through a dense layer and a layer norm.
        writing: How summaries are written.
        dropout: Rate on embeddings and on branches of the residual streams in training.
        layer_norm_epsilon: Added to the variance.
    """

    vocab_size: int
    d_model: int
    encoder: StackConfig
    decoder: StackConfig
    source_positions: PositionsConfig | None = None
    target_positions: PositionsConfig | None = None
    head: VocabularyHeadConfig = field(default_factory=DenseHeadConfig)
    copy: CopyConfig | None = None
    pass_both_streams: bool = True
    writing: WritingConfig = field(default_factory=WritingConfig)
    dropout: float = 0.1
    layer_norm_epsilon: float = 1e-6

    def __post_init__(self) -> None:
        _check_heads(self, "encoder", "d_model")
        _check_heads(self, "decoder", "d_model")
        _check_vocabulary(self.vocab_size, self.head)
        if self.encoder.cross_attention is not None:
            raise ValueError("encoder.cross_attention must be None: there is nothing to attend to")
        if self.decoder.cross_attention is None:
            if self.decoder.residual != "reversible":
                raise ValueError(
                    "decoder.residual='standard' needs decoder.cross_attention, or the decoder "
                    "would not see the source"
                )
            if self.pass_both_streams and self.encoder.residual != "reversible":
                raise ValueError("pass_both_streams needs encoder.residual='reversible'")


ModelConfig = TerraformerConfig | LanguageModelConfig | EncoderDecoderConfig


def model_config_from_dict(values: dict[str, Any]) -> ModelConfig:
    """Returns the config of a whole model.

    Raises:
        ValueError: on an unknown field or type, or the config of something else.
    """
    if not isinstance(values, dict):
        raise ValueError(f"a config is a JSON object, not {values!r:.40}")
    known = [cls.__name__ for cls in get_args(ModelConfig)]
    if values.get("type") not in known:
        raise ValueError(
            f"no model has a config of type {values.get('type')!r}; known: {', '.join(known)}"
        )
    return _from_dict(values)


def _to_dict(config: Any) -> dict[str, Any]:
    values: dict[str, Any] = {"type": type(config).__name__}
    for item in dataclasses.fields(config):
        values[item.name] = _value_to_json(getattr(config, item.name))
    return values


def _from_dict(values: dict[str, Any]) -> Any:
    name = values.get("type")
    if name not in _TYPES:
        raise ValueError(f"unknown config type {name!r}; known: {', '.join(sorted(_TYPES))}")
    known = {item.name for item in dataclasses.fields(_TYPES[name])}
    unknown = set(values) - known - {"type"}
    if unknown:
        raise ValueError(f"unknown fields of {name}: {', '.join(sorted(unknown))}")
    return _TYPES[name](
        **{key: _value_from_json(value) for key, value in values.items() if key != "type"}
    )


def _value_to_json(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return _to_dict(value)
    return [_value_to_json(item) for item in value] if isinstance(value, tuple) else value


def _value_from_json(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_value_from_json(item) for item in value)
    return _from_dict(value) if isinstance(value, dict) else value


_TYPES: dict[str, type] = {
    name: cls
    for module in (
        *(attention_config, feed_forward_config, position_config, stack_config),
        writing_config,
    )
    for name, cls in vars(module).items()
    if isinstance(cls, type) and dataclasses.is_dataclass(cls)
} | {
    cls.__name__: cls
    for cls in (PickingConfig, TerraformerConfig, LanguageModelConfig, EncoderDecoderConfig)
}


def _check_heads(config: Any, stack: str, width: str) -> None:
    d_model = getattr(config, width)
    if not isinstance(getattr(config, stack), StackConfig):
        raise ValueError(f"{stack} must be a StackConfig, not {getattr(config, stack)!r:.40}")
    for attention in getattr(config, stack).attentions:
        if not isinstance(attention, AttentionConfig):
            raise ValueError(f"{stack}.attention must be a config of attention: {attention!r:.40}")
        if d_model % attention.n_heads:
            raise ValueError(
                f"{width} ({d_model}) must be divisible by "
                f"{stack}.attention.n_heads ({attention.n_heads})"
            )
        n_modules = getattr(attention.qkv, "n_modules", 1)
        if d_model % n_modules:
            raise ValueError(
                f"{width} ({d_model}) must be divisible by "
                f"{stack}.attention.qkv.n_modules ({n_modules})"
            )


def _check_vocabulary(vocab_size: int, head: VocabularyHeadConfig) -> None:
    n_modules = getattr(head, "n_modules", 1)
    if vocab_size % n_modules:
        raise ValueError(
            f"vocab_size ({vocab_size}) must be divisible by head.n_modules ({n_modules})"
        )
