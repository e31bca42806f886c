"""Decoding on a CPU with one call a token into C++, which reads only the weights that are used."""

from __future__ import annotations

import logging
import math

import torch
from torch import Tensor

from kernels.decoding_step import Plan, unavailable
from kernels.packed import round_up
from terraformer.decoding_caches import cached_rows
from terraformer.decoding_layers import UncoveredError
from terraformer.decoding_model import plan_model, positions_of
from terraformer.decoding_plan import ENCODING, LOGITS, PlanBuilder
from terraformer.decoding_slots import AttentionSlots, new_slots
from terraformer.decoding_state import FastState, addresses_of
from terraformer.encoder_decoder import EncoderDecoder
from terraformer.language_model import LanguageModel, TokenState
from terraformer.positions import (
    AxialPositions,
    FixedBasePositions,
    LearnedPositions,
    Positions,
)
from terraformer.residual import ResidualState
from terraformer.selected_cache import SelectedCacheConfig
from terraformer.selected_decoding import SelectedDecoder, select_caches

_log = logging.getLogger(__name__)
_told: set[str] = set()
_N_ENCODINGS = 64


class FastDecoder:
    """Decodes like the model it was made of, one text at a time.

    Its packed weights are copies: later changes of the model are not seen. Prompts and sources are
    read by the model itself.

    Args:
        model: In evaluation, float32, on the CPU.
        n_threads: Threads that share a step.
        int8: Whether the weights of linear layers are rounded to int8, with a scale a row; routers,
            gates, embeddings and norms stay float32.
        instruction_set: One of `kernels.decoding_step.instruction_sets()`; the best one if None.
        cache: What layers of full attention read of their caches at a step, as `SelectedDecoder`
            does; None if all.
    Raises:
        UncoveredError: if the model, or this machine, has no decoding step in C++; the message
            names what is missing.
    """

    def __init__(
        self,
        model: LanguageModel | EncoderDecoder,
        n_threads: int = 1,
        int8: bool = False,
        instruction_set: str | None = None,
        cache: SelectedCacheConfig | None = None,
    ) -> None:
        _require_plain(model)
        self._model = model
        self._cache = cache
        self._positions = positions_of(model)
        builder = PlanBuilder(int8)
        self._slots = plan_model(builder, model, cache)
        self._caches = [
            slots.cache
            for branches in self._slots.branches
            for slots in branches
            if isinstance(slots, AttentionSlots)
        ]
        self._builder = builder  # keeps the weights that the plan points to
        self._plan = Plan(builder.steps, n_threads, instruction_set)

    @classmethod
    def of(
        cls,
        model: LanguageModel | EncoderDecoder,
        n_threads: int = 1,
        int8: bool = False,
        instruction_set: str | None = None,
        cache: SelectedCacheConfig | None = None,
    ) -> FastDecoder:
        """Returns the decoder of a model; the arguments are those of the class."""
        return cls(model, n_threads, int8, instruction_set, cache)

    @torch.no_grad()
    def begin(self, ids: Tensor, mask: Tensor | None = None) -> tuple[Tensor, FastState]:
        """Reads a prompt [1, P], or the source [1, S] of an encoder and decoder.

        Args:
            ids: int64.
            mask: Of a source, [1, S], True for real tokens, padding at the end.
        Returns:
            Logits of the next token, [1, vocab_size]; the state from which `step` goes on.
        Raises:
            ValueError: if there are several texts, or a mask for a language model.
        """
        if len(ids) != 1:
            raise ValueError(f"ids of {len(ids)} texts: the decoding step takes one at a time")
        if isinstance(self._model, EncoderDecoder):
            logits, state = self._model.begin(ids, mask)
        elif mask is None:
            logits, state = self._model.begin(ids)
        else:
            raise ValueError("a language model's prompt has no padding: mask must be None")
        return logits, self.take_over(state)

    @torch.no_grad()
    def step(self, ids_t: Tensor, state: FastState) -> tuple[Tensor, FastState]:
        """Reads one more token, [1], int64; returns the logits [1, vocab_size] and the state.

        Raises:
            ValueError: if the id is none of the vocabulary, or the position has no encoding.
        """
        vocab_size = self._model.config.vocab_size
        token = int(ids_t)
        if not 0 <= token < vocab_size:
            raise ValueError(f"id {token} must be at least 0 and below vocab_size ({vocab_size})")
        self._make_room(state)
        logits = torch.empty(1, vocab_size)
        state.addresses[LOGITS] = logits.data_ptr()
        state.addresses[ENCODING] = self._encoding(state)
        self._plan.run(
            state.addresses.buffer_info()[0],
            token,
            state.length,
            state.room,
            state.memory_length,
            state.memory_room,
        )
        state.position += 1
        state.length += 1
        state.source = state.source and state.source.after(ids_t)
        return self._mixed(logits, state), state

    def take_over(self, state: TokenState) -> FastState:
        """Returns a state of the model, of one text, as this decoder's; the model's is used up."""
        if self._cache is not None:
            select_caches(state.layers, self._cache)
        layers = state.layers
        branches = layers.branches if isinstance(layers, ResidualState) else layers
        length = branches[0][0].length
        room = round_up(length + 1)
        contents = {0: torch.zeros(self._builder.workspace)}
        for slots, states in zip(self._slots.branches, branches, strict=True):
            for i, branch in enumerate(slots):
                contents |= new_slots(branch, states[i], length, room)
                states[i] = None  # caches are large: not all of them twice at a time
        if self._slots.final is not None:
            contents[self._slots.final] = torch.zeros(round_up(self._model.config.d_model))
        memory_length, own = 0, set(contents)
        for slots, memory in zip(self._slots.cross, getattr(layers, "cross", []), strict=True):
            memory_length = cached_rows(memory)[0].shape[1]
            contents |= slots.cache.contents(memory, memory_length, round_up(memory_length))
        empty = torch.empty(0)
        tensors = [contents.get(slot, empty) for slot in range(self._builder.n_slots)]
        return FastState(
            state.position,
            length,
            room,
            memory_length,
            round_up(memory_length),
            tensors,
            addresses_of(tensors),
            empty,
            0,
            state.source,
            frozenset(contents) - own,
        )

    def _mixed(self, logits: Tensor, state: FastState) -> Tensor:
        """Mixes the logits [1, vocab_size] with what is copied, where there is a copy path."""
        if self._slots.final is None:
            return logits
        assert isinstance(self._model, EncoderDecoder)
        assert self._model.copy is not None
        assert state.source is not None
        final = state.slots[self._slots.final][: self._model.config.d_model]
        return self._model.copy.mix(logits[None], final[None, None], state.source)[0]

    def _make_room(self, state: FastState) -> None:
        """Makes sure that caches and hashes have room for one more position."""
        if state.length == state.room:
            for cache in self._caches:
                state.put(cache.grown(state.slots, state.room))
            state.room *= 2
        for cache in self._caches:
            state.put(cache.rehashed(state.slots, state.length))

    def _encoding(self, state: FastState) -> int:
        """Returns the address of the encoding of the position."""
        row = state.position - state.first_encoding
        if not 0 <= row < len(state.encodings):
            state.encodings = self._encodings(state.position)
            state.first_encoding, row = state.position, 0
        return state.encodings.data_ptr() + 4 * row * state.encodings.shape[1]

    def _encodings(self, start: int) -> Tensor:
        """Encodings of some positions from `start` on, [n, D]."""
        zeros = torch.zeros(1, _N_ENCODINGS, self._model.config.d_model)
        if self._positions is None:
            return zeros[0]
        n_left = _n_positions(self._positions) - start
        return self._positions(zeros[:, : int(max(1, min(n_left, _N_ENCODINGS)))], start)[0]


def fast_or_plain(
    model: LanguageModel | EncoderDecoder,
    n_threads: int = 1,
    int8: bool = False,
    cache: SelectedCacheConfig | None = None,
) -> FastDecoder | SelectedDecoder | LanguageModel | EncoderDecoder:
    """Returns a fast decoder of the model or, where there can be none, what decodes in PyTorch.

    All have `begin` and `step`. The reason for PyTorch is logged once. The arguments are those of
    `FastDecoder`.
    """
    try:
        return FastDecoder.of(model, n_threads, int8, cache=cache)
    except UncoveredError as error:
        if str(error) not in _told:
            _told.add(str(error))
            _log.warning("decoding goes on in PyTorch, slower: %s", error)
        return model if cache is None else SelectedDecoder(model, cache)


def _require_plain(model: LanguageModel | EncoderDecoder) -> None:
    reason = unavailable()
    if reason is not None:
        raise UncoveredError(reason)
    if model.training:
        raise UncoveredError("the decoding step in C++ needs a model in evaluation")
    for name, parameter in model.named_parameters():
        if parameter.dtype != torch.float32 or parameter.device.type != "cpu":
            raise UncoveredError(
                f"the decoding step in C++ needs float32 on the CPU; {name} is {parameter.dtype} "
                f"on {parameter.device}"
            )


def _n_positions(positions: Positions) -> float:
    """Returns how many positions there are encodings of."""
    if isinstance(positions, LearnedPositions):
        return positions.config.max_len
    if isinstance(positions, AxialPositions):
        return math.prod(positions.config.shape)
    return positions.max_len if isinstance(positions, FixedBasePositions) else math.inf
