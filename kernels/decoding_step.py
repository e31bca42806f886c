"""The decoding step in C++: a plan of small steps, which one call runs for a token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

try:
    from kernels import _decoding_step as _extension
except ImportError as error:
    _extension = None
    _reason = f"the extension kernels._decoding_step is not built ({error})"

WORKSPACE = 0
"""The slot in which `Plan.run` finds the vectors that live no longer than a token."""

_OFFSET_BITS = 40


class PlannedStep(NamedTuple):
    """One step of a plan.

    Attributes:
        name: Of its kind, as in kernels/csrc.
        fields: Its numbers; addresses of arrays are integers.
        beside: Whether it reads nothing that the step before it writes, nor the other way round, so
            that threads may work on both.
    """

    name: str
    fields: dict[str, int | float]
    beside: bool = False


def unavailable() -> str | None:
    """Returns why there is no decoding step in C++; None if there is one."""
    return None if _extension is not None else _reason


def instruction_sets() -> list[str]:
    """Returns the instruction sets that this machine runs, the best one first."""
    return _required().instruction_sets()


def place(slot: int, offset: int = 0) -> int:
    """Returns the number that names a vector: `offset` floats after the start of a slot."""
    return slot << _OFFSET_BITS | offset


class Plan:
    """Steps in their order, with the threads that run them.

    Arrays whose addresses the steps hold must outlive it. It is used by one caller at a time;
    others wait.

    Args:
        steps: The steps.
        n_threads: Threads that share the work, the caller among them. They sleep between tokens.
        instruction_set: One of `instruction_sets()`; the best one if None.
    Raises:
        RuntimeError: if the extension is not built.
        ValueError: if a step or the instruction set is unknown, or there are no threads.
    """

    def __init__(
        self,
        steps: Sequence[PlannedStep],
        n_threads: int = 1,
        instruction_set: str | None = None,
    ) -> None:
        if n_threads < 1:
            raise ValueError(f"n_threads ({n_threads}) must be at least 1")
        self._extension = _required()
        plain = [(step.name, step.fields, step.beside) for step in steps]
        self._plan = self._extension.new_plan(plain, n_threads, instruction_set)

    def run(
        self,
        slots: int,
        token: int,
        length: int,
        room: int,
        memory_length: int = 0,
        memory_room: int = 0,
    ) -> None:
        """Runs one token. Nothing is checked: wrong numbers end the process.

        Args:
            slots: Address of the slots' addresses, int64.
            token: Id of the token.
            length: Positions in the caches before it.
            room: Positions for which they have room, more than `length`, a multiple of sixteen.
            memory_length: Positions of an encoder.
            memory_room: Positions for which its keys and values have room, a multiple of sixteen.
        """
        self._extension.run(self._plan, slots, token, length, room, memory_length, memory_room)


def _required() -> Any:
    if _extension is None:
        raise RuntimeError(f"no decoding step in C++: {_reason}")
    return _extension
