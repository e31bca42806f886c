"""Bytes that queries, keys and values by convolution take beside what they are given and keep."""

from __future__ import annotations

_WIDE = 4  # bytes of float32
_PROGRAMS = 512  # shares of a kernel's gradient, at most, for each tap of it


def convolutional_qkv_bytes(
    backend: str,
    *,
    n_tokens: int,
    d_model: int,
    n_modules: int,
    kernel_size: int,
    length_kernel_size: int,
    itemsize: int = _WIDE,
    training: bool = False,
) -> int:
    """Returns the workspace of the projections, in bytes.

    Args:
        backend: One of the operation's.
        n_tokens: Of all examples, T.
        d_model: Width of inputs and outputs, D.
        n_modules: S.
        kernel_size: Modules under the widest kernel.
        length_kernel_size: Positions under it.
        itemsize: Bytes of a number.
        training: Whether there is a backward pass.
    """
    states = n_tokens * d_model * itemsize
    n_taps = kernel_size * length_kernel_size
    if backend == "triton":
        if not training:
            return states
        kernel = n_taps * (d_model // n_modules) ** 2 * _WIDE
        shares = max(1, _PROGRAMS // n_taps) * kernel
        gates = -(-(d_model // n_modules) // 16) * n_modules * d_model * _WIDE
        return 5 * states + shares + 3 * kernel + gates
    n_products = 1 + n_taps if training else 1
    return (4 + n_products) * states + 2 * d_model**2 * itemsize
