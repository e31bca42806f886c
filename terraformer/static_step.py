"""A whole decoding step over tensors that never move: what a captured graph of a GPU replays."""

from __future__ import annotations

import sys
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from terraformer import position_config
from terraformer.blocks import Stack, mean
from terraformer.config import LanguageModelConfig
from terraformer.decoding_model import positions_of
from terraformer.encoder_decoder import EncoderDecoder
from terraformer.language_model import LanguageModel, TokenState
from terraformer.positions import FixedBasePositions, TimeBinPositions
from terraformer.residual import ResidualState
from terraformer.static_layers import (
    Clock,
    StaticBranch,
    StaticCrossAttention,
    static_branch,
)
from terraformer.static_source import StaticSource
from terraformer.token_draw import TokenDraw


class StaticStep:
    """Decoding steps of a model in tensors of fixed shapes; no step asks the device anything.

    Args:
        model: In evaluation.
        state: Of the model, in texts like those that will be read; it is not taken over.
        logits: Like those of a step, [B, vocab_size].
        room: Positions of the caches, more than the state has.
        memory_room: Positions of the source, where steps look at it.
        draw: Chooses the next token.
    Raises:
        UncoveredError: if a layer has no step of fixed shapes.
    Attributes:
        room, memory_room: As given.
        ids: Of the token that is read next, [B], int64; a step leaves its choice there.
        logits: Of the last step, [B, vocab_size].
        read: Tokens by the position at which they were read, [B, positions], int64.
    """

    def __init__(
        self,
        model: LanguageModel | EncoderDecoder,
        state: TokenState,
        logits: Tensor,
        room: int,
        memory_room: int,
        draw: TokenDraw,
    ) -> None:
        self._model, self._draw = model, draw
        self.room, self.memory_room = room, memory_room
        length, weight = length_of(state), model.embedding.weight
        self._branches: list[list[StaticBranch]] = [
            [
                static_branch(branch, own, room, length)
                for branch, own in zip(block.branches, states, strict=True)
            ]
            for block, states in zip(_blocks(model), _branch_states(state), strict=True)
        ]
        self._cross = [
            StaticCrossAttention(block.cross, memory, memory_room)
            for block, memory in zip(_blocks(model), _memories(state), strict=False)
        ]
        self._path = self._planned_path()
        self._source = None
        if state.source is not None:
            self._source = StaticSource(state.source, memory_room)
        n_positions = min(room, most_positions(model))
        self._encodings = _encodings(model, n_positions)
        zero = weight.new_zeros(1, dtype=torch.int64)
        self._clock = Clock(zero.clone(), zero.clone())
        self.ids = zero.repeat(len(logits))
        self.read = zero.repeat(len(logits), n_positions)
        self.logits = torch.zeros_like(logits)

    @torch.no_grad()
    def run(self) -> None:
        """Reads `ids`: writes logits and caches, chooses the next token, and goes on by one."""
        self.read.index_copy_(1, self._clock.position, self.ids[:, None])
        if self._source is not None:
            self._source.read(self.ids)
        self.logits.copy_(self._logits(self._model.norm(self._through_layers(self._embed()))))
        self.ids.copy_(self._draw(self.logits))
        for count in self._clock:
            count.add_(1)

    @torch.no_grad()
    def fill(self, state: TokenState, logits: Tensor) -> None:
        """Takes over texts.

        Args:
            state: Of the model, in those texts.
            logits: Of the tokens after them, [B, vocab_size].
        """
        self._take(state)
        self.logits.copy_(logits)
        self.ids.copy_(self._draw(self.logits))

    def fill_from(self, step: StaticStep, state: TokenState) -> None:
        """Goes on where another step stands, whose state it is given; nothing is drawn."""
        self._take(state)
        self.logits.copy_(step.logits)
        self.ids.copy_(step.ids)
        self.read[:, : state.position] = step.read[:, : state.position]

    def suits(self, state: TokenState, n_texts: int) -> bool:
        """Whether texts can be taken over that are in this state of the model."""
        length = length_of(state)
        return (
            n_texts == len(self.ids)
            and length < self.room
            and memory_length_of(state) <= self.memory_room
            and all(
                branch.suits(own, length)
                for block, states in zip(self._branches, _branch_states(state), strict=True)
                for branch, own in zip(block, states, strict=True)
            )
        )

    def is_full(self, length: int) -> bool:
        """Whether the position after `length` others needs another step, for its place or hash."""
        return length == self.room or any(
            branch.is_crowded(length) for block in self._branches for branch in block
        )

    def state(self, position: int, length: int) -> TokenState:
        """Returns the state as the model's own `step` takes it, in copies where steps change it.

        Args:
            position: Of the next token that is read.
            length: Positions in the caches.
        """
        branches = [[branch.state(length) for branch in block] for block in self._branches]
        layers: Any = branches
        if not isinstance(self._model.decoder, Stack):
            layers = ResidualState(cast(Any, branches), [branch.state() for branch in self._cross])
        source = None if self._source is None else self._source.source
        return TokenState(position, layers, source)

    def _take(self, state: TokenState) -> None:
        self._clock.position.fill_(state.position)
        self._clock.length.fill_(length_of(state))
        for block, states in zip(self._branches, _branch_states(state), strict=True):
            for branch, own in zip(block, states, strict=True):
                branch.fill(own)
        for branch, memory in zip(self._cross, _memories(state), strict=True):
            branch.fill(memory)
        if self._source is not None and state.source is not None:
            self._source.fill(state.source)

    def _planned_path(self) -> list[tuple[StaticBranch | StaticCrossAttention, bool]]:
        """Branches in their order, and whether streams change places after each."""
        path: list[tuple[StaticBranch | StaticCrossAttention, bool]] = []
        for i, (block, branches) in enumerate(
            zip(_blocks(self._model), self._branches, strict=True)
        ):
            if isinstance(self._model.decoder, Stack):
                swaps = [swap for _, swap in block.steps()]
                path += zip(branches, swaps, strict=True)
            else:
                *attention, feed_forward = branches
                steps = [*attention, *self._cross[i : i + 1], feed_forward]
                path += [(step, False) for step in steps]
        return path

    def _through_layers(self, x: Tensor) -> Tensor:
        """Maps the embedded token [B, D] to what the last norm takes."""
        if not isinstance(self._model.decoder, Stack):
            for branch, _ in self._path:
                x = x + branch.step(x, self._clock)
            return x
        x1, x2 = x, x
        for branch, swap in self._path:
            x1 = x1 + branch.step(x2, self._clock)
            if swap:
                x1, x2 = x2, x1
        if getattr(self._model.config, "join_streams", "mean") == "concatenated":
            return torch.cat([x1, x2], dim=-1)
        return mean((x1, x2))

    def _embed(self) -> Tensor:
        x = self._model.embedding(self.ids)
        if isinstance(positions_of(self._model), TimeBinPositions):
            x = F.pad(x[:, :-3], (0, 3))
        return x + self._encodings.index_select(0, self._clock.position)

    def _logits(self, states: Tensor) -> Tensor:
        """Logits [B, vocab_size] of final states [B, D]."""
        logits = self._model.head(states)
        if self._source is None:
            return logits
        copy = cast(EncoderDecoder, self._model).copy
        assert copy is not None
        return copy.mix(logits[:, None], states[:, None], self._source.source)[:, 0]


def length_of(state: TokenState) -> int:
    """Returns how many positions are in the caches of a state."""
    return _branch_states(state)[0][0].length


def memory_length_of(state: TokenState) -> int:
    """Returns how many positions of the source steps look at, 0 if they do not."""
    memories = _memories(state)
    if memories:
        return memories[0].k.shape[2]
    return 0 if state.source is None else state.source.ids.shape[1]


def _branch_states(state: TokenState) -> list[list[Any]]:
    layers = state.layers
    return layers.branches if isinstance(layers, ResidualState) else layers


def _memories(state: TokenState) -> list[Any]:
    return state.layers.cross if isinstance(state.layers, ResidualState) else []


def _blocks(model: LanguageModel | EncoderDecoder) -> list[Any]:
    decoder = model.decoder
    return list(decoder.sequence.blocks if isinstance(decoder, Stack) else decoder.blocks)


def most_positions(model: LanguageModel | EncoderDecoder) -> int:
    """Returns how many positions of the decoder have encodings."""
    positions, config = positions_of(model), model.config
    if isinstance(positions, FixedBasePositions):
        return positions.max_len
    if isinstance(config, LanguageModelConfig):
        known = position_config.n_positions(config.positions)
    else:
        known = position_config.n_positions(config.target_positions)
    return sys.maxsize if known is None else known


@torch.no_grad()
def _encodings(model: LanguageModel | EncoderDecoder, n_rows: int) -> Tensor:
    """Encodings of the positions from the first on, [n_rows, D]."""
    zeros = model.embedding.weight.new_zeros(1, n_rows, model.config.d_model)
    positions = positions_of(model)
    return zeros[0] if positions is None else positions(zeros, 0)[0]
