from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from interpreted import evaluate, in_interpreter
from torch import Tensor

from kernels.lsh_attention.reference import hash_buckets
from kernels.lsh_attention.triton import sort_positions

WINDOWS = {  # length, rounds, chunk, chunks before and after, causal
    "one-token": (1, 1, 4, 1, 1, False),
    "one-round": (37, 1, 16, 1, 1, False),
    "rounds": (40, 2, 16, 1, 1, False),
    "causal": (37, 2, 16, 1, 0, True),
    "odd-chunk": (33, 1, 13, 0, 2, False),
    "wide-chunk": (41, 1, 40, 2, 0, True),
    "short-circle": (10, 1, 4, 3, 3, False),
}


def _inputs(
    length: int, n_rounds: int, dtype: torch.dtype, d_qk: int = 8, d_v: int = 5
) -> list[Tensor | None]:
    """One example, padded at its end and here and there."""
    qk, v = torch.randn(1, 1, length, d_qk).to(dtype), torch.randn(1, 1, length, d_v).to(dtype)
    mask = torch.ones(1, length, dtype=torch.bool)
    mask[0, length - length // 8 :] = False
    mask[0, 1::7] = False
    buckets = hash_buckets(qk, torch.randn(1, d_qk, n_rounds, 4), (8,), mask)
    return [qk, v, buckets, mask]


def _options(window: str) -> tuple[int, int, dict[str, Any]]:
    length, n_rounds, chunk_len, n_before, n_after, causal = WINDOWS[window]
    options = {
        "chunk_len": chunk_len,
        "n_chunks_before": n_before,
        "n_chunks_after": n_after,
        "causal": causal,
    }
    return length, n_rounds, options


def _compare(
    inputs: list[Tensor | None], options: dict[str, Any], assert_near: Callable[..., None]
) -> None:
    expected = evaluate("lsh_attention", "reference", inputs, options)
    actual = in_interpreter(evaluate, "lsh_attention", "triton", inputs, options)
    assert len(actual) == 3
    for i, (one, other) in enumerate(zip(actual, expected, strict=True)):
        assert one.dtype == other.dtype
        assert_near(one, other, grad=i > 0)


@pytest.mark.parametrize("window", WINDOWS)
def test_agrees_with_the_reference(window: str, assert_near: Callable[..., None]) -> None:
    length, n_rounds, options = _options(window)
    _compare(_inputs(length, n_rounds, torch.float32), options, assert_near)


@pytest.mark.parametrize(
    "dtype", [torch.float64, torch.float16, torch.bfloat16], ids=lambda dtype: str(dtype)[6:]
)
def test_agrees_in_every_precision(dtype: torch.dtype, assert_near: Callable[..., None]) -> None:
    length, n_rounds, options = _options("causal")
    _compare(_inputs(length, n_rounds, dtype, d_qk=20, d_v=17), options, assert_near)


def test_weights_are_scaled(assert_near: Callable[..., None]) -> None:
    length, n_rounds, options = _options("causal")
    scale = torch.randn(1, 1, 16, 32).exp() * (torch.rand(1, 1, 16, 32) < 0.75)
    inputs = _inputs(length, n_rounds, torch.float32)
    _compare(inputs, {**options, "weight_scale": scale}, assert_near)


def test_heads_may_be_views(assert_near: Callable[..., None]) -> None:
    """Of one projection [B, L, 2 * H * K], as a layer makes them; examples differ in length."""
    both = torch.randn(2, 21, 2 * 2 * 8)
    qk, v = (part.unflatten(-1, (2, 8)).transpose(1, 2) for part in both.chunk(2, dim=-1))
    buckets = torch.randint(0, 4, (2, 2, 1, 21))
    mask = torch.arange(21) < torch.tensor([[12], [20]])
    _compare([qk, v, buckets, mask], {"chunk_len": 16}, assert_near)


def test_padding_is_sorted_last() -> None:
    buckets = torch.tensor([[[[1, 0, 9, 1, 0]]]])
    mask = torch.tensor([[True, False, True, True, True]])
    order, lengths = sort_positions(buckets, mask)
    assert order.flatten().tolist() == [4, 0, 3, 2, 1]
    assert lengths.tolist() == [4]
