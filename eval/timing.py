"""Times of calls that are compared with one another, and the bandwidth they could have had."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence

import torch

_BANDWIDTH_BYTES = 1 << 29  # far more than any cache holds


def time_calls(
    call: Callable[[], object], n_repeats: int, max_seconds: float = 60.0
) -> list[float]:
    """Returns the seconds of up to `n_repeats` calls, after one that is not counted.

    When calls have taken more than `max_seconds` together, no further one is made; if already the
    first takes that long, its own time is returned.
    """
    return interleave({"": call}, n_repeats, max_seconds=max_seconds)[""]


def interleave(
    calls: Mapping[str, Callable[[], object]],
    n_rounds: int,
    n_burst: int = 1,
    max_seconds: float = 600.0,
) -> dict[str, list[float]]:
    """Times calls in turn, so that what disturbs the machine disturbs all of them.

    Args:
        calls: What is timed, by name.
        n_rounds: Rounds that are counted, after one that is not.
        n_burst: Calls of each in a row; of several, the first finds the others' data in the caches
            and is not counted.
        max_seconds: No further round begins after so long. If already the first takes that long,
            its own times are returned.
    Returns:
        Seconds of the calls that count, by name.
    """
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    begin = time.perf_counter()
    for done in range(n_rounds + 1):
        for name, call in calls.items():
            burst = [_seconds_of(call) for _ in range(n_burst)]
            counted = burst[1:] if n_burst > 1 else burst
            seconds[name] = seconds[name] + counted if done > 1 else counted
        if time.perf_counter() - begin > max_seconds:
            break
    return seconds


def spread(name: str, seconds: Sequence[float]) -> dict[str, object]:
    """Returns median, quartiles and number of times as columns of a row, in milliseconds."""
    quartiles = statistics.quantiles(seconds, n=4) if len(seconds) > 1 else [seconds[0]] * 3
    return {
        f"{name}_ms": round(1e3 * statistics.median(seconds), 3),
        f"{name}_ms_quartiles": [round(1e3 * quartiles[i], 3) for i in (0, 2)],
        f"{name}_n": len(seconds),
    }


def measure_bandwidth(n_repeats: int = 7) -> float:
    """Returns the most bytes a second that torch's threads read from memory, one after another."""
    data = torch.ones(_BANDWIDTH_BYTES // 4)
    return _BANDWIDTH_BYTES / min(time_calls(lambda: data.sum(), n_repeats))


def _seconds_of(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
