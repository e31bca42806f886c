"""Decoding of one text after another in a step of fixed shapes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from terraformer.decoding_layers import UncoveredError
from terraformer.encoder_decoder import EncoderDecoder
from terraformer.experts import Experts
from terraformer.language_model import LanguageModel, TokenState
from terraformer.static_step import StaticStep, length_of, memory_length_of, most_positions
from terraformer.token_draw import TokenDraw
from terraformer.writing_config import WritingConfig

_ROUND = 64  # rooms are multiples of it, so that texts of about one length need no other step


@dataclass
class StaticState:
    """What the host knows of the text that is decoded; a step changes it in place.

    Attributes:
        position: Of the next token that is read.
        length: Positions in the caches: a decoder that joins counts those of the source too.
    """

    position: int
    length: int


class StaticDecoder:
    """Decodes like its model, in a step that asks the device nothing.

    There is one text at a time (or a batch of as long ones): where another begins, the state of the
    one before cannot be used any more, nor can a copy of a state.

    Args:
        model: In evaluation.
        config: How `write` chooses tokens: temperature, `top_p` and seed.
        n_ahead: Tokens for which there is room from the beginning; then the room doubles.
    Raises:
        UncoveredError: if the model is in training, or its experts are spread over processes.
    """

    def __init__(
        self,
        model: LanguageModel | EncoderDecoder,
        config: WritingConfig | None = None,
        n_ahead: int = 512,
    ) -> None:
        if model.training:
            raise UncoveredError("a step of fixed shapes needs a model in evaluation")
        if any(isinstance(part, Experts) and part.group is not None for part in model.modules()):
            raise UncoveredError("experts spread over processes have no step of fixed shapes")
        self._model, self._n_ahead = model, n_ahead
        self._draw = TokenDraw(config or WritingConfig(), model.embedding.weight.device)
        self._step: StaticStep | None = None
        self._run: Callable[[], None] | None = None
        self._state: StaticState | None = None

    @torch.no_grad()
    def begin(self, ids: Tensor, mask: Tensor | None = None) -> tuple[Tensor, StaticState]:
        """Reads prompts [B, P], or sources [B, S] of an encoder and decoder, with the model itself.

        Args:
            ids: int64.
            mask: Of a source, [B, S], True for real tokens, padding at the end.
        Returns:
            Logits of the next token, [B, vocab_size]; the state from which `step` goes on.
        Raises:
            ValueError: if there is a mask for a language model.
        """
        if isinstance(self._model, EncoderDecoder):
            logits, state = self._model.begin(ids, mask)
        elif mask is None:
            logits, state = self._model.begin(ids)
        else:
            raise ValueError("a language model's prompt has no padding: mask must be None")
        return logits, self.take_over(state, logits)

    def take_over(self, state: TokenState, logits: Tensor) -> StaticState:
        """Goes on from a state of the model and the logits after it, [B, vocab_size]."""
        self._draw.restart()
        length = length_of(state)
        if self._step is None or not self._step.suits(state, len(logits)):
            self._prepare(state, logits, _rounded_up(length + self._n_ahead))
        assert self._step is not None
        self._step.fill(state, logits)
        self._state = StaticState(state.position, length)
        return self._state

    @torch.no_grad()
    def step(self, ids_t: Tensor, state: StaticState) -> tuple[Tensor, StaticState]:
        """Reads one more token, [B], int64; returns the logits [B, vocab_size] and the state.

        Raises:
            ValueError: if the state is not the one that `begin` or `step` returned last, the
                position has no encoding, or an id on the CPU is none of the vocabulary.
        """
        self._check(state, 1)
        vocab_size = self._model.config.vocab_size
        if ids_t.device.type == "cpu" and not bool(((ids_t >= 0) & (ids_t < vocab_size)).all()):
            raise ValueError(
                f"ids {ids_t.tolist()} must be at least 0 and below vocab_size ({vocab_size})"
            )
        step, run = self._ready(state)
        step.ids.copy_(ids_t)
        run()
        state.position += 1
        state.length += 1
        return step.logits.clone(), state

    @torch.no_grad()
    def write(self, n_tokens: int, state: StaticState) -> tuple[Tensor, StaticState]:
        """Chooses tokens and reads them, without the host in between.

        Returns:
            The tokens, [B, n_tokens], int64, on the model's device; the state after the last.
        Raises:
            ValueError: as `step`.
        """
        self._check(state, n_tokens)
        first = state.position
        for _ in range(n_tokens):
            self._ready(state)[1]()
            state.position += 1
            state.length += 1
        assert self._step is not None
        return self._step.read[:, first : state.position].clone(), state

    def _check(self, state: StaticState, n_tokens: int) -> None:
        if state is not self._state:
            raise ValueError("the state is of a text that is not decoded any more, or a copy")
        end, most = state.position + n_tokens, most_positions(self._model)
        if end > most:
            raise ValueError(f"{end} positions are more than the model has encodings of ({most})")

    def _ready(self, state: StaticState) -> tuple[StaticStep, Callable[[], None]]:
        """Returns the step and what runs it, with room for one more position."""
        step, run = self._step, self._run
        assert step is not None
        assert run is not None
        if not step.is_full(state.length):
            return step, run
        now = step.state(state.position, state.length)
        self._prepare(now, step.logits, step.room * (2 if state.length == step.room else 1))
        assert self._step is not None
        assert self._run is not None
        self._step.fill_from(step, now)
        return self._step, self._run

    def _prepare(self, state: TokenState, logits: Tensor, room: int) -> None:
        """Makes the step for texts like the one of the state."""
        self._step = self._run = None  # may be large
        memory_room = _rounded_up(memory_length_of(state))
        step = StaticStep(self._model, state, logits, room, memory_room, self._draw)
        self._step, self._run = step, self._runner(step)

    def _runner(self, step: StaticStep) -> Callable[[], None]:
        """Returns what runs a step; it may have run it before its tensors are filled."""
        return step.run


def _rounded_up(n: int) -> int:
    return -(-n // _ROUND) * _ROUND
