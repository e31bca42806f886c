"""Memory in huge pages: what is read from all over it costs few translations of addresses."""

from __future__ import annotations

import contextlib
import math
import mmap
from collections.abc import Sequence

import torch
from torch import Tensor

PAGE_BYTES = 1 << 21
_ADVICE = getattr(mmap, "MADV_HUGEPAGE", None)  # Linux alone has it
_ARENA_BYTES = 1 << 25
_LINE_BYTES = 64


def zeros(shape: Sequence[int], dtype: torch.dtype = torch.float32) -> Tensor:
    """Returns zeros, in huge pages if they fill one and the system has any."""
    n_bytes = math.prod(shape) * dtype.itemsize
    if _ADVICE is None or n_bytes < PAGE_BYTES:
        return torch.zeros(shape, dtype=dtype)
    return _map(n_bytes)[:n_bytes].view(dtype).view(*shape)


class Arena:
    """Keeps copies of tensors one after another, so that small ones share huge pages too."""

    def __init__(self) -> None:
        self._free = torch.empty(0, dtype=torch.uint8)

    def keep(self, tensor: Tensor) -> Tensor:
        """Returns a contiguous copy that begins with a line of the processor's cache."""
        n_bytes = tensor.numel() * tensor.dtype.itemsize
        if _ADVICE is None or n_bytes >= _ARENA_BYTES:
            return zeros(tensor.shape, tensor.dtype).copy_(tensor)
        n_taken = -(-n_bytes // _LINE_BYTES) * _LINE_BYTES
        if n_taken > len(self._free):
            self._free = _map(_ARENA_BYTES)
        kept, self._free = self._free[:n_bytes], self._free[n_taken:]
        return kept.view(tensor.dtype).view(tensor.shape).copy_(tensor)


def _map(n_bytes: int) -> Tensor:
    """Returns that many zero bytes or more, the first of which begins a page."""
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS  # shared memory has no huge pages by advice
    memory = mmap.mmap(-1, n_bytes + PAGE_BYTES, flags=flags)
    with contextlib.suppress(OSError):  # a kernel may be built without them
        memory.madvise(_ADVICE or 0)
    whole = torch.frombuffer(memory, dtype=torch.uint8)
    return whole[-whole.data_ptr() % PAGE_BYTES :]
