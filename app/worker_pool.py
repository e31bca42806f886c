"""Work on many items in processes of one machine, such that no item can end the others' work."""

from __future__ import annotations

import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from terraformer.errors import TerraformerError

Item = TypeVar("Item")
Result = TypeVar("Result")


class WorkerEndedError(TerraformerError):
    """The process at work on an item was ended from outside, most likely for want of memory."""


def n_cores() -> int:
    """Returns the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def run_each(
    work: Callable[[Item], Result], items: Iterable[Item], n_workers: int
) -> Iterator[tuple[Item, Result | Exception]]:
    """Yields each item with its result, or with the exception that its work raised, as they come.

    A process that dies takes down the pool and everything in flight; those items, at most
    `n_workers`, are then tried again one at a time, so that only the culprit fails.

    Args:
        work: Called in a spawned process; it and the items must pickle.
        items: What to work on.
        n_workers: Processes, at least 1.
    """
    waiting = deque(items)
    while waiting:
        suspects: list[Item] = []
        with _pool(n_workers) as pool:
            running: dict[Future[Result], Item] = {}
            while running or (waiting and not suspects):
                while waiting and not suspects and len(running) < n_workers:
                    item = waiting.popleft()
                    try:
                        running[pool.submit(work, item)] = item
                    except BrokenProcessPool:
                        suspects.append(item)
                finished, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in finished:
                    item = running.pop(future)
                    outcome = _outcome(future)
                    if isinstance(outcome, WorkerEndedError):
                        suspects.append(item)
                    else:
                        yield item, outcome
        for item in suspects:
            with _pool(1) as pool:
                yield item, _outcome(pool.submit(work, item))


def _pool(n_workers: int) -> ProcessPoolExecutor:
    # Spawned: a fork of a process with threads of torch or Gradio can hang.
    return ProcessPoolExecutor(n_workers, mp_context=multiprocessing.get_context("spawn"))


def _outcome(future: Future[Result]) -> Result | Exception:
    try:
        return future.result()
    except BrokenProcessPool:
        return WorkerEndedError(
            "the process at work on it was ended, most likely for want of memory: "
            "try it with fewer --threads"
        )
    except Exception as error:
        return error
