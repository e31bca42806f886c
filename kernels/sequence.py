"""Operations on whole sequences in C++: how tensors get there."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor

from kernels.dispatch import needs_cpu

try:
    from kernels import _sequence as _extension
except ImportError as error:
    _extension = None
    _reason = f"the extension kernels._sequence is not built ({error})"

_forced: ContextVar[str | None] = ContextVar("forced_instruction_set", default=None)


def needs_extension(device: torch.device) -> str | None:
    """The `available` of backends in C++: None where they run, else the reason why not."""
    return needs_cpu(device) or (_reason if _extension is None else None)


def instruction_sets() -> list[str]:
    """Returns the instruction sets that run here, the best one first; none if it is not built."""
    return [] if _extension is None else _extension.instruction_sets()


@contextlib.contextmanager
def forced_instruction_set(name: str) -> Iterator[None]:
    """Runs every operation inside the `with` on one of `instruction_sets()`, not the best one."""
    token = _forced.set(name)
    try:
        yield
    finally:
        _forced.reset(token)


def run(operation: str, fields: dict[str, int]) -> None:
    """Runs an operation of kernels/csrc on as many threads as torch would take.

    Nothing is checked: wrong sizes or addresses end the process.

    Args:
        operation: Its name.
        fields: Its sizes, and the addresses and strides of its arrays.
    Raises:
        RuntimeError: if the extension is not built.
        ValueError: if the operation or the forced instruction set is unknown, or a field lacks.
    """
    extension: Any = _extension
    if extension is None:
        raise RuntimeError(f"no operation {operation} in C++: {_reason}")
    extension.run(operation, fields, torch.get_num_threads(), _forced.get())


def rows(**tensors: Tensor) -> dict[str, int]:
    """Returns the fields of tensors [B, H, L, K] or [B, L, K], with their strides.

    Raises:
        ValueError: if the numbers of a row do not lie side by side.
    """
    fields = {}
    for name, x in tensors.items():
        if x.shape[-1] > 1 and x.stride(-1) != 1:
            raise ValueError(f"{name} has stride {x.stride(-1)} within a row, it must be 1")
        fields[name] = x.data_ptr()
        fields[f"{name}_batch"] = x.stride(0)
        fields[f"{name}_head"] = x.stride(1) if x.dim() == 4 else 0
        fields[f"{name}_time"] = x.stride(-2)
    return fields


def arrays(**tensors: Tensor | None) -> dict[str, int]:
    """Returns the fields of contiguous tensors; the address of None is 0.

    Raises:
        ValueError: if one is not contiguous.
    """
    for name, x in tensors.items():
        if x is not None and not x.is_contiguous():
            raise ValueError(f"{name} must be contiguous")
    return {name: 0 if x is None else x.data_ptr() for name, x in tensors.items()}


def with_rows(x: Tensor) -> Tensor:
    """Returns x, or a copy of it in which the numbers of a row lie side by side."""
    return x if x.stride(-1) == 1 else x.contiguous()
