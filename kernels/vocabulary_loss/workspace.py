"""Bytes that the loss over a vocabulary takes beside what it is given, returns and keeps."""

from __future__ import annotations

from kernels.vocabulary_loss.reference import CHUNK_LEN
from kernels.vocabulary_loss.triton import CHUNK_BYTES

_WIDE = 4  # bytes of float32
_LEAST_ROWS = 128  # targets of a chunk
_PROGRAMS = 1024
_ROWS_OF_A_BLOCK = 16  # from below


def vocabulary_loss_bytes(
    backend: str,
    *,
    n_targets: int,
    d_model: int,
    vocab_size: int,
    n_modules: int = 1,
    itemsize: int = _WIDE,
) -> int:
    """Returns the workspace of the loss and its gradients, in bytes.

    Args:
        backend: One of the operation's.
        n_targets: T.
        d_model: Width of the states, D.
        vocab_size: Pieces, V.
        n_modules: S of a sparse layer.
        itemsize: Bytes of a number.
    """
    row = vocab_size * itemsize
    d_module = vocab_size // n_modules
    weights = d_module * d_model * _WIDE
    if backend == "triton":
        at_once = max(_LEAST_ROWS * row, CHUNK_BYTES)
        at_once = min(at_once, max(1, n_targets) * row)
        gates = -(-d_module // _ROWS_OF_A_BLOCK) * n_modules * d_model * _WIDE
        biases = -(-at_once // row // _ROWS_OF_A_BLOCK) * vocab_size * _WIDE
        parts = 6 * _WIDE * (n_targets + _PROGRAMS * _ROWS_OF_A_BLOCK)
        return at_once + 2 * weights + gates + biases + 2 * vocab_size * _WIDE + parts
    chunk_len = min(n_targets, CHUNK_LEN)
    mixed = chunk_len * n_modules * d_model * itemsize
    return chunk_len * (3 * row + 2 * vocab_size * _WIDE) + 2 * (mixed + n_modules * weights)
