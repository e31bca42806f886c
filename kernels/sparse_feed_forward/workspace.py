"""Bytes that the sparse feed-forward takes beside what it is given, returns and keeps."""

from __future__ import annotations

from kernels.sparse_feed_forward.cpu import UNITS_AT_ONCE

_WIDE = 4  # bytes of float32
_LONG = 8
_LEAST_ROWS = 64  # of the backend for the CPU at once


def sparse_feed_forward_bytes(
    backend: str,
    *,
    n_tokens: int,
    n_units: int,
    n_blocks: int,
    d_model: int,
    itemsize: int = _WIDE,
    training: bool = False,
) -> int:
    """Returns the workspace of all units' products, in bytes; logits and choices are given.

    Args:
        backend: One of the operation's.
        n_tokens: T.
        n_units: Units, F.
        n_blocks: Blocks of units, of each of which one is kept.
        d_model: Width of inputs and outputs.
        itemsize: Bytes of a number.
        training: Whether there is a backward pass.
    """
    units, choices = n_tokens * n_units, n_tokens * n_blocks
    if backend == "triton":
        kept = choices * (itemsize + _WIDE)
        return kept + units * itemsize * (2 if training else 1)
    if backend == "cpu":
        at_once = min(n_tokens, max(_LEAST_ROWS, UNITS_AT_ONCE // n_units)) * n_units
        backward = 2 * n_units * d_model * _WIDE if training else 0
        return choices * _LONG + (6 if training else 3) * at_once * _WIDE + backward
    return units * itemsize * (8 if training else 4) + choices * 2 * _LONG
