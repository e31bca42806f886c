"""Synthetic tasks that show whether a model learns to reach far back: copy, sort, recall."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Generator, Tensor

BLANK = 0
N_COPIED_SYMBOLS = 32
N_SORTED_SYMBOLS = 64
N_LISTED = 31
N_KEYS = 16
N_VALUES = 16


class Batch(NamedTuple):
    """Sequences of a task.

    Attributes:
        ids: [B, L], int64.
        scored: [B, L], True where what stands before determines the token.
    """

    ids: Tensor
    scored: Tensor


@dataclass(frozen=True)
class Task:
    """A task and what can be said of it without learning.

    Attributes:
        name: Of the task.
        vocab_size: Tokens, the blank among them.
        min_len: Of a sequence.
        chance: Accuracy of the best guess that knows the task but sees nothing before the last
            token.
        draw: Draws a batch: examples, length of the sequences, generator.
    """

    name: str
    vocab_size: int
    min_len: int
    chance: float
    draw: Callable[[int, int, Generator], Batch]


def draw_copying(n_examples: int, length: int, generator: Generator) -> Batch:
    """Draws sequences `w blank blank w`: any symbols, then the same once more.

    The word fills the sequence, so every answer lies half a sequence back.
    """
    half = length // 2
    word = 1 + torch.randint(N_COPIED_SYMBOLS, (n_examples, half - 1), generator=generator)
    blank = torch.full((n_examples, 1), BLANK)
    ids = torch.cat([word, blank, blank, word], dim=1)
    return Batch(ids, _scored(ids, slice(half + 1, None)))


def draw_sorting(n_examples: int, length: int, generator: Generator) -> Batch:
    """Draws lists of `N_LISTED` symbols, scattered among blanks, then the same sorted.

    The symbols of a list differ. The sorted list ends the sequence, after a blank.
    """
    listed = 1 + _draw_distinct(n_examples, N_LISTED, N_SORTED_SYMBOLS, generator)
    scattered = _scatter(listed[..., None], length - N_LISTED - 1, generator)
    blank = torch.full((n_examples, 1), BLANK)
    ids = torch.cat([scattered, blank, listed.sort(dim=1).values], dim=1)
    return Batch(ids, _scored(ids, slice(-N_LISTED, None)))


def draw_recall(n_examples: int, length: int, generator: Generator) -> Batch:
    """Draws a value for each key, scattered among blanks, then asks for all, in another order.

    A pair is given as value, key and asked as key, value. The questions end the sequence.
    """
    keys = _draw_distinct(n_examples, N_KEYS, N_KEYS, generator)
    values = torch.randint(N_VALUES, keys.shape, generator=generator)
    keys, values = keys + 1 + N_VALUES, values + 1
    given = _scatter(torch.stack([values, keys], dim=2), length - 2 * N_KEYS, generator)
    order = _draw_distinct(n_examples, N_KEYS, N_KEYS, generator)
    asked = torch.stack([keys.gather(1, order), values.gather(1, order)], dim=2)
    ids = torch.cat([given, asked.flatten(1)], dim=1)
    return Batch(ids, _scored(ids, slice(1 - 2 * N_KEYS, None, 2)))


TASKS = {
    task.name: task
    for task in (
        Task("copying", 1 + N_COPIED_SYMBOLS, 4, 1 / N_COPIED_SYMBOLS, draw_copying),
        Task(
            "sorting",
            1 + N_SORTED_SYMBOLS,
            2 * N_LISTED + 2,
            (N_LISTED - 1) / (N_SORTED_SYMBOLS - 1),  # that the next symbol is in the list
            draw_sorting,
        ),
        Task("recall", 1 + N_KEYS + N_VALUES, 4 * N_KEYS, 1 / N_VALUES, draw_recall),
    )
}


def _draw_distinct(n_rows: int, n: int, n_symbols: int, generator: Generator) -> Tensor:
    """Draws n of n_symbols numbers in random order, [n_rows, n], int64."""
    return torch.rand(n_rows, n_symbols, generator=generator).argsort(dim=1)[:, :n]


def _scatter(items: Tensor, room: int, generator: Generator) -> Tensor:
    """Spreads items [B, n, W] in their order over `room` tokens, blanks between: [B, room]."""
    n_examples, n_items, width = items.shape
    places = _draw_distinct(n_examples, n_items, room // width, generator).sort(dim=1).values
    slots = torch.full((n_examples, room // width, width), BLANK)
    slots.scatter_(1, places[..., None].expand_as(items), items)
    return slots.flatten(1)


def _scored(ids: Tensor, where: slice) -> Tensor:
    scored = torch.zeros_like(ids, dtype=torch.bool)
    scored[:, where] = True
    return scored
