"""Rows of the positions so far, kept for the steps of decoding."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


class GrowingCache:
    """Rows along the length axis, appended in place; the room doubles when it is used up.

    Args:
        rows: First rows, [B, H, L, K].
    """

    def __init__(self, rows: Tensor) -> None:
        self.length = rows.shape[2]
        self._room = rows

    @property
    def rows(self) -> Tensor:
        """All rows so far, [B, H, length, K], a view."""
        return self._room[:, :, : self.length]

    def append(self, row: Tensor) -> None:
        """Adds one row, [B, H, 1, K]."""
        if self.length == self._room.shape[2]:
            self._room = F.pad(self._room, (0, 0, 0, max(16, self.length)))
        self._room[:, :, self.length : self.length + 1] = row
        self.length += 1


class WindowCache:
    """Rows of the chunk that is being filled and of some chunks before it; its room is fixed.

    Args:
        rows: First rows, [B, H, L, K], L at least 1.
        chunk_len: Rows of a chunk; chunks are counted from the first row on.
        n_chunks_before: Full chunks kept before the one that is being filled.
    """

    def __init__(self, rows: Tensor, chunk_len: int, n_chunks_before: int) -> None:
        n_rows = rows.shape[2]
        start = max(0, (n_rows - 1) // chunk_len - n_chunks_before) * chunk_len
        self.length = n_rows - start
        self._chunk_len = chunk_len
        room = (n_chunks_before + 1) * chunk_len
        self._room = F.pad(rows[:, :, start:], (0, 0, 0, room - self.length))

    @property
    def rows(self) -> Tensor:
        """The rows in reach, [B, H, length, K], a view."""
        return self._room[:, :, : self.length]

    def append(self, row: Tensor) -> None:
        """Adds one row, [B, H, 1, K]; the first chunk makes room if there is none."""
        if self.length == self._room.shape[2]:
            self._room = self._room.roll(-self._chunk_len, dims=2)
            self.length -= self._chunk_len
        self._room[:, :, self.length : self.length + 1] = row
        self.length += 1
