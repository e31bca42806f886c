"""Bytes that the SRU recurrence takes beside what it is given, returns and keeps."""

from __future__ import annotations

_WIDE = 4  # bytes of float32
_LEAST_STEPS = 16  # of a block of time in the kernels for GPUs, from below


def sru_scan_bytes(
    backend: str,
    *,
    n_texts: int,
    n_tokens: int,
    width: int,
    itemsize: int = _WIDE,
    training: bool = False,
) -> int:
    """Returns the workspace of the recurrence, in bytes.

    Args:
        backend: One of the operation's.
        n_texts: B.
        n_tokens: L.
        width: Units, D.
        itemsize: Bytes of a number.
        training: Whether there is a backward pass.
    """
    values = n_texts * n_tokens * width
    first = n_texts * width * _WIDE
    if backend == "triton":
        ends = 2 * _WIDE * n_texts * width * -(-n_tokens // _LEAST_STEPS)
        return first + ends + (values * itemsize if training else 0)
    copies = 0 if itemsize == _WIDE else 3
    if backend == "cpu":
        copies += 14 if training else 7
    elif backend == "reference":
        copies += 12 if training else 4
    elif training:
        copies += 1
    return first + copies * _WIDE * (values + n_texts * width * (2 + 2 * int(n_tokens**0.5)))
