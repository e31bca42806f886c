"""Progress on standard error: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, TextIO

QUIET_SECONDS = 2.0  # work shorter than this leaves no line in a log
SECONDS_BETWEEN_LINES = 5.0


class StderrProgress:
    """Shows (what is being done, units done, units in all); see `terraformer.summary.Progress`.

    Use as a context manager: leaving it takes an unfinished bar off the screen.
    """

    def __init__(
        self,
        *,
        enabled: bool = True,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._enabled = enabled
        self._clock = clock
        self._next_line = clock() + QUIET_SECONDS
        self._what: str | None = None
        self._bar: Any = None

    def __call__(self, what: str, done: int, total: int) -> None:
        if not self._enabled:
            return
        if self._stream.isatty():
            self._draw(what, done, total)
        elif done < total and self._clock() >= self._next_line:
            self._next_line = self._clock() + SECONDS_BETWEEN_LINES
            print(f"summarize: {what} {done}/{total}", file=self._stream, flush=True)

    def _draw(self, what: str, done: int, total: int) -> None:
        from tqdm import tqdm

        if what != self._what:
            self.close()
            self._what = what
            self._bar = tqdm(total=total, desc=what, leave=False, file=self._stream)
        self._bar.total = total
        self._bar.update(done - self._bar.n)
        if done >= total:
            self.close()

    def stop(self) -> None:
        """Takes the bar off the screen for good, where something else is about to be shown."""
        self.close()
        self._enabled = False

    def close(self) -> None:
        """Takes the bar off the screen."""
        if self._bar is not None:
            self._bar.close()
        self._bar = None
        self._what = None

    def __enter__(self) -> StderrProgress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
