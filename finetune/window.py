"""Documents seen through windows, one after another, so that nothing of them is left out."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from pyarrow import compute
from torch.utils.data import Dataset

from terraformer.tokenizer import EOS_ID

MIN_WINDOW = 3  # so that halves of what is longer hold two tokens


class Documents(Protocol):
    """Documents whose columns are Arrow's: a data set of `datasets`, or token shards."""

    @property
    def data(self) -> Any: ...


class TokenWindows(Dataset[NDArray[np.int64]]):
    """Every document cut into windows of about the same length.

    A window never spans two documents, and holds two tokens at least. Documents of one token are
    left out: there is nothing to predict of them.

    Args:
        documents: Rows with token ids, [L], in the column "ids".
        max_len: Most tokens of a window, at least MIN_WINDOW.
        with_end: Whether an end-of-sequence follows the last token of each document.
        limit: Only so many windows, spread evenly over all.
    """

    def __init__(
        self, documents: Documents, max_len: int, *, with_end: bool, limit: int | None = None
    ) -> None:
        if max_len < MIN_WINDOW:
            raise ValueError(f"max_len ({max_len}) must be at least {MIN_WINDOW}")
        self._ids = documents.data.column("ids")
        self._with_end = with_end
        lengths = compute.call_function("list_value_length", [self._ids]).to_numpy()
        self._lengths = np.where(lengths > 1, lengths + with_end, 0)
        self._n_windows = -(-self._lengths // max_len)  # of each document
        self._ends = self._n_windows.cumsum()
        n_windows = int(self._ends[-1]) if len(self._ends) else 0
        self._windows = np.arange(n_windows)
        if limit is not None and limit < n_windows:
            self._windows = np.linspace(0, n_windows - 1, limit).round().astype(np.int64)

    def __len__(self) -> int:
        return len(self._windows)

    def __getitem__(self, index: int) -> NDArray[np.int64]:
        """Returns the ids of a window, at most `max_len` of them."""
        window = int(self._windows[index])
        document = int(np.searchsorted(self._ends, window, side="right"))
        length, n_windows = int(self._lengths[document]), int(self._n_windows[document])
        place = window - int(self._ends[document]) + n_windows
        start, end = (length * i // n_windows for i in (place, place + 1))
        ids = self._ids[document].values.slice(start, end - start).to_numpy().astype(np.int64)
        ends_document = self._with_end and end == length
        return np.append(ids, EOS_ID) if ends_document else ids
