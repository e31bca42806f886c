from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from interpreted import evaluate, in_interpreter
from torch import Tensor

from kernels.triton_launch import Launch, force_launch

OP = "expert_feed_forward"
KERNELS = [f"{OP}_{kind}" for kind in ("fwd", "dx", "dw")]


@pytest.fixture(autouse=True)
def _small_blocks() -> Iterator[None]:
    """Makes tiny inputs take several blocks."""
    for kernel in KERNELS:
        in_interpreter(force_launch, kernel, Launch(16, 16, 1, 1))
    yield
    for kernel in KERNELS:
        in_interpreter(force_launch, kernel, None)


def _inputs(
    counts: list[int], dtype: torch.dtype, d_model: int = 9, d_ff: int = 21
) -> list[Tensor | None]:
    n_experts = len(counts)
    shapes = (
        (sum(counts), d_model),
        (n_experts, d_ff, d_model),
        (n_experts, d_ff),
        (n_experts, d_model, d_ff),
        (n_experts, d_model),
    )
    tokens, *weights = (torch.randn(shape).to(dtype) for shape in shapes)
    return [tokens, torch.tensor(counts), *weights]


def _compare(
    inputs: list[Tensor | None], options: dict[str, Any], assert_near: Callable[..., None]
) -> None:
    expected = evaluate(OP, "reference", inputs, options)
    actual = in_interpreter(evaluate, OP, "triton", inputs, options)
    assert len(actual) == len(expected) == 6
    for i, (one, other) in enumerate(zip(actual, expected, strict=True)):
        assert one.dtype == other.dtype
        assert_near(one, other, grad=i > 0)


@pytest.mark.parametrize("counts", [[1], [37], [5, 0, 21, 16, 3], [0, 0, 17], [1] * 17], ids=str)
def test_agrees_with_the_reference(counts: list[int], assert_near: Callable[..., None]) -> None:
    _compare(_inputs(counts, torch.float32), {}, assert_near)


def test_units_are_dropped(assert_near: Callable[..., None]) -> None:
    options = {"kept": torch.rand(37, 21) >= 0.4, "dropout": 0.4}
    _compare(_inputs([20, 17], torch.float32), options, assert_near)


@pytest.mark.parametrize(
    "dtype", [torch.float64, torch.float16, torch.bfloat16], ids=lambda dtype: str(dtype)[6:]
)
def test_agrees_in_every_precision(dtype: torch.dtype, assert_near: Callable[..., None]) -> None:
    options = {"kept": torch.rand(29, 40) >= 0.2, "dropout": 0.2}
    _compare(_inputs([18, 0, 11], dtype, 33, 40), options, assert_near)


def test_without_tokens_gradients_are_zero() -> None:
    out, *grads = in_interpreter(evaluate, OP, "triton", _inputs([0, 0], torch.float32), {})
    assert out.shape == (0, 9)
    assert [grad.abs().sum().item() for grad in grads] == [0.0] * 5


def test_tokens_may_be_views(assert_near: Callable[..., None]) -> None:
    inputs = _inputs([5, 4], torch.float32)
    inputs[0] = torch.randn(9, 9).T
    _compare(inputs, {}, assert_near)
