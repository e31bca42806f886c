"""Memory for large tensors: in huge pages, and taken again by the next tensor of the same size.

The system clears a page when it is first touched, which takes longer than adding two tensors.
"""

from __future__ import annotations

import contextlib
import math
import mmap
import sys
from collections.abc import Iterator
from contextvars import ContextVar

import torch
from torch import Tensor

_LEAST_BYTES = 4 << 20  # two huge pages: below, what lies beyond the tensor's end would matter
_ADVICE: int | None = getattr(mmap, "MADV_HUGEPAGE", None)  # Linux has it
_FREE = 3  # references: from the pool, the loop over it and the call that counts
_pool: ContextVar[list[mmap.mmap] | None] = ContextVar("pool", default=None)


@contextlib.contextmanager
def reused() -> Iterator[None]:
    """Lets tensors made inside the `with` take the memory of those that are gone by then."""
    token = _pool.set(_pool.get() or [])
    try:
        yield
    finally:
        _pool.reset(token)


def empty_like(x: Tensor, shape: tuple[int, ...] | None = None) -> Tensor:
    """Returns a contiguous tensor that is not initialized, in dtype and on the device of x.

    Large ones in main memory ask the system for huge pages; it may refuse.

    Args:
        x: What it is like.
        shape: Its shape; that of x if None.
    """
    shape = tuple(x.shape) if shape is None else shape
    n_bytes = math.prod(shape) * x.element_size()
    if _ADVICE is None or x.device.type != "cpu" or n_bytes < _LEAST_BYTES:
        return x.new_empty(shape)
    return torch.frombuffer(_memory(n_bytes, _ADVICE), dtype=x.dtype).view(shape)


def _memory(n_bytes: int, advice: int) -> mmap.mmap:
    pool = _pool.get()
    for memory in pool or ():
        if len(memory) == n_bytes and sys.getrefcount(memory) == _FREE:
            return memory
    memory = mmap.mmap(-1, n_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(advice)
    if pool is not None:
        pool.append(memory)
    return memory
