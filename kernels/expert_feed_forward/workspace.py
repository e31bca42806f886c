"""Bytes that the experts of a Switch layer take beside what they are given, return and keep."""

from __future__ import annotations

_WIDE = 4  # bytes of float32


def expert_feed_forward_bytes(
    backend: str,
    *,
    n_tokens: int,
    n_units: int,
    d_model: int,
    itemsize: int = _WIDE,
    training: bool = False,
) -> int:
    """Returns the workspace of the experts' products, in bytes.

    Args:
        backend: One of the operation's.
        n_tokens: That find room, N.
        n_units: Units of an expert, F.
        d_model: Width of inputs and outputs, D.
        itemsize: Bytes of a number.
        training: Whether there is a backward pass, before which the units are kept.
    """
    units, states = n_tokens * n_units * itemsize, n_tokens * d_model * itemsize
    if backend == "triton":
        return units + (states if training else 0)
    return (2 if training else 1) * (2 * units + 2 * states)
