"""A process that runs jobs one by one, replaced by a new one when a job breaks it or hangs."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from multiprocessing.connection import Connection
from typing import Any

Job = tuple[Callable[..., dict[str, Any]], tuple[Any, ...]]
"""A function of a module and its arguments; it returns columns of a row."""


def run_isolated(
    jobs: Iterable[Job], environment: Mapping[str, str], limit_seconds: float
) -> Iterator[dict[str, Any]]:
    """Runs jobs, each row of which is what the job returned, or has its `error`.

    After any error the process is replaced: a GPU that met an illegal address answers nothing more
    in the process that asked for it.

    Args:
        jobs: What is run.
        environment: Variables of the process.
        limit_seconds: What a job may take.
    Yields:
        A row a job, in their order.
    """
    worker: _Worker | None = None
    try:
        for job in jobs:
            if worker is None:
                worker = _Worker(environment)
            row = worker.run(job, limit_seconds)
            yield row
            if "error" in row:
                worker.stop()
                worker = None
    finally:
        if worker is not None:
            worker.stop()


class _Worker:
    def __init__(self, environment: Mapping[str, str]) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, far_end = context.Pipe()
        self.process = context.Process(
            target=_serve, args=(far_end, dict(environment)), daemon=True
        )
        self.process.start()
        far_end.close()

    def run(self, job: Job, limit_seconds: float) -> dict[str, Any]:
        try:
            self.pipe.send(job)
            if not self.pipe.poll(limit_seconds):
                return {"error": f"no answer within {limit_seconds:g} s"}
            return self.pipe.recv()
        except (EOFError, OSError):
            self.process.join()
            return {"error": f"the process ended with status {self.process.exitcode}"}

    def stop(self) -> None:
        self.process.kill()
        self.process.join()
        self.pipe.close()


def _serve(pipe: Connection, environment: dict[str, str]) -> None:
    os.environ.update(environment)  # before anything imports Triton
    while True:
        function, arguments = pipe.recv()
        try:
            row = function(*arguments)
        except Exception as error:
            first_line = (str(error).strip() or "no message").splitlines()[0]
            row = {"error": f"{type(error).__name__}: {first_line[:300]}"}
        pipe.send(row)
