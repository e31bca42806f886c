"""Bytes that LSH attention and its hash take beside what they are given, return and keep."""

from __future__ import annotations

from kernels.lsh_attention.reference import HASHED_AT_ONCE

_WIDE = 4  # bytes of float32 and int32
_LONG = 8
_CPU_SCORES = 16 << 20  # a few chunks' scores and what is made of them, at once


def lsh_attention_bytes(
    backend: str,
    *,
    n_rows: int,
    n_rounds: int,
    d_head: int,
    reach: int,
    itemsize: int = _WIDE,
    training: bool = False,
) -> int:
    """Returns the workspace of LSH attention, in bytes.

    Args:
        backend: One of the operation's.
        n_rows: Queries of all examples and heads, B * H * L.
        n_rounds: Hash rounds, R.
        d_head: Width of queries and values.
        reach: Keys that a query sees in a round.
        itemsize: Bytes of a number.
        training: Whether there is a backward pass.
    """
    row, places = n_rows * d_head, n_rows * n_rounds
    if backend == "triton":
        # Keys, sorted keys, two buffers of the device's sort, 64-bit places and 32-bit ones.
        sort = places * (2 * _WIDE + _WIDE + _LONG + _LONG + _WIDE)
        sums = _WIDE * row if itemsize < _WIDE and n_rounds > 1 else 0
        attend = places * _WIDE + 2 * n_rows * _WIDE + sums
        backward = n_rows * _WIDE + 2 * sums + row * itemsize
        return max(sort, attend, backward if training else 0)
    if backend == "cpp":
        sort = places * (_LONG + _WIDE)
        attend = places * _WIDE + 2 * n_rows * _WIDE + (0 if itemsize == _WIDE else 3 * row * _WIDE)
        return max(sort, attend) + (3 * row * _WIDE if training else 0)
    if backend == "cpu":
        indices = 5 * places * _LONG  # buckets, sort keys, order, its inverse, rows of chunks
        states = (3 + n_rounds) * row * _WIDE
        return indices + states * (2 if training else 1) + _CPU_SCORES
    scores = 8 * places * reach * _WIDE
    return (scores + 8 * places * d_head * (1 + reach) * _WIDE) * (2 if training else 1)


def hash_buckets_bytes(
    backend: str, *, n_heads: int, n_tokens: int, n_rounds: int, width: int, d_head: int
) -> int:
    """Returns the workspace of the hash, in bytes.

    Args:
        backend: One of the operation's.
        n_heads: Heads of all examples, B * H.
        n_tokens: L.
        n_rounds: Hash rounds, R.
        width: Random directions of a round.
        d_head: Width of a query.
    """
    rotations = n_heads * d_head * n_rounds * width * _WIDE
    if backend == "cpp":
        return rotations
    at_once = n_heads * min(n_tokens, HASHED_AT_ONCE)
    products = at_once * (n_rounds * (3 * width * _WIDE + 3 * _LONG) + d_head * _WIDE)
    return 2 * rotations + products + n_heads * n_tokens * n_rounds * _LONG
