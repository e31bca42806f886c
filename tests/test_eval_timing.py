"""Times of calls that are compared with one another."""

from __future__ import annotations

import time

from eval.timing import interleave, measure_bandwidth, spread, time_calls


def test_time_calls_leaves_the_first_out_and_minds_the_clock() -> None:
    delays = iter([0.2, 0.01, 0.02, 0.03])
    seconds = time_calls(lambda: time.sleep(next(delays)), 3)
    assert len(seconds) == 3
    assert max(seconds) < 0.15
    assert len(time_calls(lambda: time.sleep(0.02), 50, max_seconds=0.05)) <= 2
    assert len(time_calls(lambda: time.sleep(0.02), 50, max_seconds=0.01)) == 1


def test_calls_take_turns_and_bursts_lose_their_first() -> None:
    made: list[str] = []
    calls = {name: lambda name=name: made.append(name) for name in "ab"}
    seconds = interleave(calls, n_rounds=2, n_burst=3)
    assert "".join(made) == "aaabbb" * 3
    assert {name: len(times) for name, times in seconds.items()} == {"a": 4, "b": 4}


def test_spread_is_in_milliseconds() -> None:
    columns = spread("ours", [0.001, 0.002, 0.003, 0.004, 0.005])
    assert columns["ours_ms"] == 3.0
    assert columns["ours_ms_quartiles"] == [1.5, 4.5]
    assert columns["ours_n"] == 5
    assert spread("ours", [0.25])["ours_ms_quartiles"] == [250.0, 250.0]


def test_bandwidth_is_that_of_a_memory() -> None:
    assert 1e8 < measure_bandwidth(n_repeats=1) < 1e13
