from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from interpreted import evaluate, in_interpreter
from torch import Tensor
from vocabulary_case import autocast_gradients, make_inputs

from kernels.triton_launch import Launch, force_launch

KERNELS = (
    "multiplicative_dx",
    "multiplicative_dw",
    "vocabulary_loss_fwd",
    "vocabulary_loss_bwd",
)
OP = "vocabulary_loss"


@pytest.fixture(autouse=True)
def _small_blocks() -> Iterator[None]:
    """Makes tiny inputs take several blocks."""
    for kernel in KERNELS:
        in_interpreter(force_launch, kernel, Launch(16, 16, 1, 1))
    yield
    for kernel in KERNELS:
        in_interpreter(force_launch, kernel, None)


def _compare(
    inputs: list[Tensor | None], options: dict[str, Any], assert_near: Callable[..., None]
) -> None:
    expected = evaluate(OP, "reference", inputs, options)
    actual = in_interpreter(evaluate, OP, "triton", inputs, options)
    assert len(actual) == len(expected) > 2
    for i, (one, other) in enumerate(zip(actual, expected, strict=True)):
        assert one.dtype == other.dtype
        assert_near(one, other, grad=i > 0, dtype=inputs[0].dtype)


def _in(dtype: torch.dtype, inputs: list[Tensor | None]) -> list[Tensor | None]:
    return [
        item.to(dtype) if item is not None and item.is_floating_point() else item for item in inputs
    ]


@pytest.mark.parametrize("has_bias", [True, False], ids=["bias", "no-bias"])
@pytest.mark.parametrize(
    "shape", [(1, 5, 1, 7), (37, 35, 3, 21), (37, 9, 0, 37)], ids=["one", "sparse", "dense"]
)
def test_agrees_with_the_reference(
    shape: tuple[int, int, int, int], has_bias: bool, assert_near: Callable[..., None]
) -> None:
    inputs = _in(torch.float32, make_inputs(*shape))
    _compare(inputs if has_bias else [*inputs[:4], None], {}, assert_near)


@pytest.mark.parametrize(
    "dtype", [torch.float64, torch.float16, torch.bfloat16], ids=lambda dtype: str(dtype)[6:]
)
def test_agrees_in_every_precision(dtype: torch.dtype, assert_near: Callable[..., None]) -> None:
    inputs = make_inputs(21, 17, 2, 19)
    inputs[0] = 0.3 * inputs[0]  # the reference rounds logits to half precision
    _compare(_in(dtype, inputs), {}, assert_near)


def test_chunks_and_views(assert_near: Callable[..., None]) -> None:
    inputs = _in(torch.float32, make_inputs(37, 9, 3, 5))
    inputs[0] = torch.randn(37, 20)[:, 3:12]
    _compare(inputs, {"chunk_len": 16}, assert_near)


def test_without_targets_gradients_are_zero() -> None:
    loss, *grads = in_interpreter(evaluate, OP, "triton", make_inputs(0, 9, 3, 5), {})
    assert loss.shape == (0,)
    assert [grad.abs().sum().item() for grad in grads] == [0.0] * 4


def test_small_gradients_survive_half_precision(assert_near: Callable[..., None]) -> None:
    """Those of a mean over many targets and pieces, which float16 would round to zero."""
    inputs = make_inputs(21, 17, 2, 19)
    small = in_interpreter(autocast_gradients, inputs, 2.0**-30)
    whole = in_interpreter(autocast_gradients, inputs, 1.0)
    for one, other in zip(small, whole, strict=True):
        assert one.dtype == torch.float32
        assert_near(one * 2.0**30, other, grad=True)
