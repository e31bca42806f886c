"""How summaries are written: choice of tokens, lengths, and what is read."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class WritingConfig:
    """How a summary is written with a model's probabilities; tuned on validation.

    Attributes:
        beam_size: Texts that are kept at every step; 1 keeps the one.
        length_penalty: Exponent of the length by which texts of a beam are compared; 0 compares
            probabilities, 1 nearly their mean a token.
        temperature: Tokens are drawn, their logits divided by it; 0 takes the likeliest.
        top_p: Draws are from the likeliest tokens that together have this probability.
        seed: Of draws.
        block_trigrams: Whether no three words in a row are written twice.
        departure_penalty: Nats by which a token is less likely that leaves, in the middle of a
            sentence, a passage that has been copied so far: the ends of two sentences are joined
            less readily.
        min_tokens, max_tokens: Least and most tokens of a summary of normal length, where the model
            reads documents.
        typical_words: Words of the abstracts in training. Where the model reads documents, "short"
            is half and "long" twice of them, and a summary of normal length ends where the model
            ends it; where it rewrites, lengths follow what would be picked of the document.
        max_source: Most source tokens that are read; None for as many as have positions.
        n_extracted: Where the model rewrites, the source is what an extractor picks: so many tokens
            at most in training, in use so many for `typical_words` of a summary and more for more;
            None where it reads documents.
    """

    beam_size: int = 1
    length_penalty: float = 1.0
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    block_trigrams: bool = True
    departure_penalty: float = 0.0
    min_tokens: int = 0
    max_tokens: int = 512
    typical_words: int = 180
    max_source: int | None = None
    n_extracted: int | None = None

    def __post_init__(self) -> None:
        for name in ("beam_size", "max_tokens", "typical_words", "max_source", "n_extracted"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} ({value}) must be at least 1")
        for name in ("temperature", "departure_penalty"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} ({getattr(self, name)}) must not be negative")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p ({self.top_p}) must be above 0 and at most 1")
        if self.beam_size > 1 and self.temperature:
            raise ValueError(
                f"beam_size ({self.beam_size}) must be 1 to draw with temperature "
                f"({self.temperature})"
            )
        if not 0 <= self.min_tokens <= self.max_tokens:
            raise ValueError(
                f"min_tokens ({self.min_tokens}) must be from 0 to max_tokens ({self.max_tokens})"
            )
