from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from convolutional_case import make_inputs
from interpreted import evaluate, in_interpreter
from torch import Tensor

from kernels.triton_launch import Launch, force_launch

OP = "convolutional_qkv"
KERNELS = [f"{name}_{kind}" for name in (OP, "multiplicative") for kind in ("fwd", "dx", "dw")]


@pytest.fixture(autouse=True)
def _small_blocks() -> Iterator[None]:
    """Makes tiny inputs take several blocks."""
    for kernel in KERNELS:
        in_interpreter(force_launch, kernel, Launch(16, 16, 1, 1))
    yield
    for kernel in KERNELS:
        in_interpreter(force_launch, kernel, None)


def _compare(inputs: list[Tensor | None], assert_near: Callable[..., None]) -> None:
    expected = evaluate(OP, "reference", inputs, {})
    actual = in_interpreter(evaluate, OP, "triton", inputs, {})
    assert len(actual) == len(expected) == 3 + sum(item is not None for item in inputs)
    for i, (one, other) in enumerate(zip(actual, expected, strict=True)):
        assert one.dtype == other.dtype
        assert_near(one, other, grad=i > 2)


def _in(dtype: torch.dtype, inputs: list[Tensor | None]) -> list[Tensor | None]:
    return [item if item is None else item.to(dtype) for item in inputs]


@pytest.mark.parametrize(
    ("batch", "length", "n_modules", "d_module", "taps", "shared"),
    [
        (1, 1, 2, 3, (3, 3), False),
        (2, 11, 3, 5, (3, 3), False),
        (2, 9, 2, 18, (2, 1), True),
        (1, 19, 1, 7, (4, 5), False),
    ],
    ids=["one-position", "apart", "shared", "one-module"],
)
def test_agrees_with_the_reference(
    batch: int,
    length: int,
    n_modules: int,
    d_module: int,
    taps: tuple[int, int],
    shared: bool,
    assert_near: Callable[..., None],
) -> None:
    inputs = make_inputs(batch, length, n_modules, d_module, taps, shared)
    _compare(_in(torch.float32, inputs), assert_near)


@pytest.mark.parametrize(
    "dtype", [torch.float64, torch.float16, torch.bfloat16], ids=lambda dtype: str(dtype)[6:]
)
def test_agrees_in_every_precision(dtype: torch.dtype, assert_near: Callable[..., None]) -> None:
    _compare(_in(dtype, make_inputs(1, 18, 2, 9, (2, 3))), assert_near)


def test_inputs_may_be_views(assert_near: Callable[..., None]) -> None:
    inputs = _in(torch.float32, make_inputs(2, 5, 2, 3, (2, 3)))
    inputs[0] = torch.randn(5, 2, 6).transpose(0, 1)
    _compare(inputs, assert_near)


def test_without_positions_gradients_are_zero() -> None:
    inputs = _in(torch.float32, make_inputs(2, 0, 2, 3))
    q, k, v, *grads = in_interpreter(evaluate, OP, "triton", inputs, {})
    assert q.shape == k.shape == v.shape == (2, 0, 6)
    assert [grad.abs().sum().item() for grad in grads] == [0.0] * 10
