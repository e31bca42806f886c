from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from interpreted import evaluate, in_interpreter, without_gradients
from torch import Tensor

from kernels.sparse_feed_forward.reference import Controller, Selection

SELECTIONS: list[Selection] = ["hard", "straight_through", "soft"]


def _inputs(n_tokens: int, block_size: int, dtype: torch.dtype) -> list[Tensor | None]:
    n_blocks, d_model = 6, 9
    shapes = (
        (n_tokens, d_model),
        (n_tokens, n_blocks, block_size),
        (n_blocks * block_size, d_model),
        (n_blocks * block_size, d_model),
        (d_model,),
    )
    return [torch.randn(shape).to(dtype) for shape in shapes]


def _compare(
    op: str, inputs: list[Tensor | None], options: dict[str, Any], assert_near: Callable[..., None]
) -> None:
    expected = evaluate(op, "reference", inputs, options)
    actual = in_interpreter(evaluate, op, "triton", inputs, options)
    for i, (one, other) in enumerate(zip(actual, expected, strict=True)):
        if other is None:
            assert one is None
        else:
            assert one.dtype == other.dtype
            assert_near(one, other, grad=i > 0)


@pytest.mark.parametrize("multiply", [False, True], ids=["plain", "multiplied"])
@pytest.mark.parametrize("selection", SELECTIONS)
@pytest.mark.parametrize("is_given", [False, True], ids=["highest", "given"])
def test_agrees_with_the_reference(
    is_given: bool, selection: Selection, multiply: bool, assert_near: Callable[..., None]
) -> None:
    n_tokens, block_size = 23, 5  # more blocks than one program takes
    choice = torch.randint(0, block_size, (n_tokens, 6)).to(torch.uint8) if is_given else None
    options = {"selection": selection, "choice": choice, "multiply_by_controller": multiply}
    inputs = _inputs(n_tokens, block_size, torch.float32)
    _compare("sparse_feed_forward", inputs, options, assert_near)


@pytest.mark.parametrize("selection", SELECTIONS)
@pytest.mark.parametrize(
    "dtype", [torch.float64, torch.float16, torch.bfloat16], ids=lambda dtype: str(dtype)[6:]
)
def test_agrees_in_every_precision(
    dtype: torch.dtype, selection: Selection, assert_near: Callable[..., None]
) -> None:
    options = {"selection": selection, "multiply_by_controller": True}
    _compare("sparse_feed_forward", _inputs(7, 4, dtype), options, assert_near)


@pytest.mark.parametrize("multiply", [False, True], ids=["plain", "multiplied"])
@pytest.mark.parametrize(
    "dtype", [torch.float64, torch.float32, torch.float16], ids=lambda dtype: str(dtype)[6:]
)
def test_step_agrees_with_the_reference(
    dtype: torch.dtype, multiply: bool, assert_near: Callable[..., None]
) -> None:
    inputs = _inputs(3, 5, dtype)
    options = {"multiply_by_controller": multiply}
    op = "sparse_feed_forward_step"
    expected = without_gradients(op, "reference", inputs, options)
    actual = in_interpreter(without_gradients, op, "triton", inputs, options)
    assert len(actual) == len(expected) == 1
    assert_near(actual[0], expected[0])


def test_inference_agrees_with_the_reference(assert_near: Callable[..., None]) -> None:
    x, _, w1, w2, b2 = _inputs(7, 5, torch.float32)
    controller = Controller(torch.randn(4, 9), torch.randn(30, 4), torch.randn(30))
    arguments = ([x, controller, w1, w2, b2], {"block_size": 5})
    op = "sparse_feed_forward_inference"
    expected = without_gradients(op, "reference", *arguments)
    actual = in_interpreter(without_gradients, op, "triton", *arguments)
    assert_near(actual[0], expected[0])
