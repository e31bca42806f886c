from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from interpreted import evaluate, in_interpreter
from torch import Tensor

from kernels.triton_launch import Launch

SMALL = Launch(4, 2, 1, 1)  # the interpreter joins steps one by one


def _run(inputs: list[Tensor | None]) -> list[Tensor | None]:
    return in_interpreter(evaluate, "sru_scan", "triton", inputs, {}, SMALL)


def _compare(inputs: list[Tensor | None], assert_near: Callable[..., None]) -> None:
    expected = evaluate("sru_scan", "reference", inputs, {})
    actual = _run(inputs)
    for i, (one, other) in enumerate(zip(actual, expected, strict=True)):
        assert one.dtype == other.dtype
        assert_near(one, other, grad=i > 1)


@pytest.mark.parametrize(
    ("batch", "length", "gate"), [(2, 1, 1.0), (2, 11, 8.0), (1, 33, 8.0), (1, 18, 40.0)]
)
def test_agrees_with_the_reference(
    batch: int, length: int, gate: float, assert_near: Callable[..., None]
) -> None:
    x = torch.randn(batch, length, 3)
    _compare([x, (gate * torch.randn(x.shape)).sigmoid(), torch.randn(batch, 3)], assert_near)


@pytest.mark.parametrize(
    "dtype", [torch.float64, torch.float16, torch.bfloat16], ids=lambda dtype: str(dtype)[6:]
)
def test_agrees_in_every_precision(dtype: torch.dtype, assert_near: Callable[..., None]) -> None:
    x = torch.randn(1, 21, 3)
    _compare([x.to(dtype), torch.randn(x.shape).sigmoid().to(dtype), None], assert_near)


def test_inputs_may_be_views(assert_near: Callable[..., None]) -> None:
    x, f = torch.rand(1, 20, 6).chunk(2, dim=-1)
    _compare([x, f, None], assert_near)


def test_extreme_gates_are_exact() -> None:
    x, c0 = torch.randn(1, 17, 2), torch.randn(1, 2)
    cells, last, *_ = _run([x, torch.zeros_like(x), c0])
    assert torch.equal(cells, x)
    assert torch.equal(last, x[:, -1])
    cells, last, *_ = _run([x, torch.ones_like(x), c0])
    assert torch.equal(cells, c0[:, None].expand_as(x))
    assert torch.equal(last, c0)
