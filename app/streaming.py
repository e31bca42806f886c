"""Work that tells of itself as it goes on, turned into something to iterate over."""

from __future__ import annotations

import contextvars
import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

Told = TypeVar("Told")
Result = TypeVar("Result")


class NobodyListensError(Exception):
    """Raised within work whose listener has gone."""


class Streamed(Generic[Told, Result]):
    """Work in a thread of its own; iterating over it gives what it tells, as soon as it is told.

    Whoever stops iterating ends the work at the next thing that it tells.

    Args:
        work: Is given a function to tell things to, and returns the result.
        seconds: What is told within so short a time is given together.
    Attributes:
        result: What the work returned, once the iteration has come to its end.
    """

    result: Result

    def __init__(self, work: Callable[[Callable[[Told], None]], Result], seconds: float) -> None:
        self._work = work
        self._seconds = seconds

    def __iter__(self) -> Iterator[list[Told]]:
        """Yields lists of what was told, in order.

        Raises:
            Exception: what the work raises.
        """
        told: queue.SimpleQueue[Told | _End] = queue.SimpleQueue()
        gone = threading.Event()

        def tell(thing: Told) -> None:
            if gone.is_set():
                raise NobodyListensError
            told.put(thing)

        def run() -> None:
            try:
                self.result = self._work(tell)
            except NobodyListensError:
                pass
            except BaseException as error:
                told.put(_End(error))
            else:
                told.put(_End(None))

        thread = threading.Thread(target=contextvars.copy_context().run, args=(run,), daemon=True)
        thread.start()
        try:
            while True:
                things, end = _take(told, self._seconds)
                if things:
                    yield things
                if end is not None:
                    if end.error is not None:
                        raise end.error
                    return
        finally:
            gone.set()
            thread.join()


class _End:
    def __init__(self, error: BaseException | None) -> None:
        self.error = error


def _take(told: queue.SimpleQueue[Told | _End], seconds: float) -> tuple[list[Told], _End | None]:
    """Waits for something to be told; returns it with all that follows within some seconds."""
    things: list[Told] = []
    thing = told.get()
    if not isinstance(thing, _End):
        time.sleep(seconds)
    while not isinstance(thing, _End):
        things.append(thing)
        try:
            thing = told.get_nowait()
        except queue.Empty:
            return things, None
    return things, thing
