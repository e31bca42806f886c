from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from app.streaming import Streamed

Tell = Callable[[str], None]


def test_what_is_told_comes_in_order_and_the_result_last() -> None:
    def work(tell: Tell) -> int:
        for word in "otters fish at night".split():
            tell(word)
        return 4

    streamed = Streamed(work, seconds=0.0)
    assert [word for words in streamed for word in words] == ["otters", "fish", "at", "night"]
    assert streamed.result == 4


def test_it_comes_while_the_work_goes_on() -> None:
    heard = threading.Event()

    def work(tell: Tell) -> bool:
        tell("first")
        return heard.wait(timeout=20)

    streamed = Streamed(work, seconds=0.0)
    for words in streamed:
        assert words == ["first"]
        heard.set()
    assert streamed.result


def test_what_is_told_at_once_comes_at_once() -> None:
    def work(tell: Tell) -> None:
        for word in ("one", "two", "three"):
            tell(word)

    assert list(Streamed(work, seconds=0.5)) == [["one", "two", "three"]]


def test_work_that_nobody_listens_to_ends() -> None:
    told = []

    def work(tell: Tell) -> None:
        for number in range(10_000):
            tell(str(number))
            told.append(number)
            time.sleep(0.001)

    for _ in Streamed(work, seconds=0.0):
        break
    n_told = len(told)
    assert n_told < 10_000
    time.sleep(0.02)
    assert len(told) == n_told


def test_errors_of_the_work_come_after_what_was_told() -> None:
    def work(tell: Tell) -> None:
        tell("a word")
        raise LookupError("and no more")

    streamed = iter(Streamed(work, seconds=0.0))
    assert next(streamed) == ["a word"]
    with pytest.raises(LookupError, match="and no more"):
        next(streamed)
