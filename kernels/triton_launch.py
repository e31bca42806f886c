"""Block sizes and warps of a kernel launch, looked up in the table of settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from kernels.triton_table import TABLE

_LEAST_BLOCK = 16  # what a matrix product of Triton takes


@dataclass(frozen=True)
class Launch:
    """How a kernel is cut up.

    Attributes:
        block_m, block_n: Rows and columns of a block.
        n_warps: Warps of 32 threads a program.
        n_stages: Depth of the software pipeline.
    """

    block_m: int
    block_n: int
    n_warps: int
    n_stages: int


_forced: dict[str, Launch] = {}


def launch_of(kernel: str, dtype: torch.dtype, width: int) -> Launch:
    """Returns the settings of a kernel: those of the narrowest entry that holds the width.

    Args:
        kernel: A name in `kernels.triton_table.TABLE`.
        dtype: Of the values.
        width: Elements of the widest row; beyond all entries, the widest one is taken.
    """
    if kernel in _forced:
        return _forced[kernel]
    entries = {key[1]: value for key, value in TABLE[kernel].items() if key[0] == dtype.itemsize}
    fitting = [entry for entry in entries if entry >= width]
    return Launch(*entries[min(fitting) if fitting else max(entries)])


def run_kernel(kernel: Any, grid: tuple[int, ...], *arguments: Any, **options: Any) -> None:
    """Launches a kernel on the device of its first argument."""
    with torch.cuda.device_of(arguments[0]):
        kernel[grid](*arguments, **options)


def force_launch(kernel: str, launch: Launch | None) -> None:
    """Makes all launches of a kernel use these settings, as tuning does; None ends it."""
    if launch is None:
        _forced.pop(kernel, None)
    else:
        _forced[kernel] = launch


def block_of(n: int, most: int | None = None) -> int:
    """Returns the power of two that holds n, at least 16, at most `most`."""
    block = max(_LEAST_BLOCK, 1 << max(0, n - 1).bit_length())
    return block if most is None else min(block, most)
