"""Peak memory and time of one piece of work, in a fresh process with a limit."""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection

import psutil
import torch

_LOOK_EVERY = 0.05  # seconds
# Tensors above a megabyte are mapped by themselves, so that what is freed is not resident: glibc
# would keep some in its heap, between others.
_MALLOC = {"MALLOC_MMAP_THRESHOLD_": "1000000"}


@dataclass(frozen=True)
class Work:
    """What is measured.

    Attributes:
        run: The work.
        n_parameters: Of the model that it runs.
    """

    run: Callable[[], object]
    n_parameters: int


@dataclass(frozen=True)
class Measurement:
    """What one run took.

    Attributes:
        n_parameters: Of the model.
        seconds: Of the run alone.
        before_bytes: Resident in the process when the run began: code, model and gradients.
        peak_bytes: Most that was resident during the run, all included.
    """

    n_parameters: int
    seconds: float
    before_bytes: int
    peak_bytes: int

    @property
    def run_bytes(self) -> int:
        """What the run added at its peak."""
        return self.peak_bytes - self.before_bytes


@dataclass(frozen=True)
class Refusal:
    """Why there is no measurement."""

    reason: str


def measure(
    prepare: Callable[..., Work],
    *arguments: object,
    limit_bytes: int,
    limit_seconds: float,
    threads: int,
) -> Measurement | Refusal:
    """Prepares and runs work in a fresh process, which is killed when it passes a limit.

    The system's mark of the most memory resident is set back before the run where the system
    allows it (Linux); elsewhere what preparing took counts as well.

    Args:
        prepare: Function of a module, which makes the work.
        arguments: What it is called with.
        limit_bytes: Most memory resident.
        limit_seconds: Most time, from the start of the process on.
        threads: Of torch.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(
        target=_child, args=(sender, prepare, arguments, threads), daemon=True
    )
    start = time.monotonic()
    with _environment(_MALLOC):
        process.start()
    sender.close()
    try:
        watched = psutil.Process(process.pid)
        while not receiver.poll(_LOOK_EVERY):
            with contextlib.suppress(psutil.NoSuchProcess):
                if watched.memory_info().rss > limit_bytes:
                    return Refusal(f"over {limit_bytes / 2**30:.3g} GiB")
            if time.monotonic() - start > limit_seconds:
                return Refusal(f"over {limit_seconds / 60:.3g} minutes")
        return receiver.recv()
    except EOFError:
        process.join()
        return Refusal(f"the process ended with status {process.exitcode}")
    finally:
        process.kill()
        process.join()


@contextlib.contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Sets environment variables inside the `with`, where they are not set already."""
    added = {name: value for name, value in values.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]


def _child(
    sender: Connection, prepare: Callable[..., Work], arguments: tuple[object, ...], threads: int
) -> None:
    torch.set_num_threads(threads)
    try:
        work = prepare(*arguments)
        gc.collect()
        with contextlib.suppress(OSError), open("/proc/self/clear_refs", "w") as file:
            file.write("5")  # sets the mark to what is resident now
        before = psutil.Process().memory_info().rss
        start = time.perf_counter()
        work.run()
        seconds = time.perf_counter() - start
        sender.send(Measurement(work.n_parameters, seconds, before, _peak_bytes()))
    except (ValueError, RuntimeError) as error:
        sender.send(Refusal(f"{type(error).__name__}: {error}".splitlines()[0]))


def _peak_bytes() -> int:
    """The most that has been resident in this process."""
    # What getrusage says of a child starts at the most that its parent ever had.
    with contextlib.suppress(OSError), open("/proc/self/status", encoding="ascii") as file:
        for line in file:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
