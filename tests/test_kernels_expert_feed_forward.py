from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from kernels import ops

D_MODEL, D_FF = 6, 10
COUNTS = [[9], [5, 0, 12, 1], [0, 0, 3], [0, 0], [40, 33]]


def _inputs(counts: list[int]) -> list[Tensor]:
    n_experts = len(counts)
    shapes = (
        ((n_experts, D_FF, D_MODEL), (n_experts, D_FF)),
        (
            (n_experts, D_MODEL, D_FF),
            (n_experts, D_MODEL),
        ),
    )
    tokens = torch.randn(sum(counts), D_MODEL, dtype=torch.float64)
    weights = [torch.randn(shape, dtype=torch.float64) for pair in shapes for shape in pair]
    return [tokens, torch.tensor(counts), *weights]


def _one_by_one(inputs: list[Tensor], kept: Tensor | None, dropout: float) -> Tensor:
    """Outputs of the tokens, one after another."""
    tokens, n_tokens, w1, b1, w2, b2 = inputs
    expert = torch.arange(len(n_tokens)).repeat_interleave(n_tokens)
    outputs = []
    for t, e in enumerate(expert):
        units = F.relu(w1[e] @ tokens[t] + b1[e])
        if kept is not None:
            units = units * kept[t] / (1 - dropout)
        outputs.append(w2[e] @ units + b2[e])
    return torch.stack(outputs) if outputs else tokens * w1.sum()


@pytest.mark.parametrize("dropout", [0.0, 0.4])
@pytest.mark.parametrize("counts", COUNTS, ids=str)
def test_each_token_has_its_expert(
    counts: list[int], dropout: float, assert_near: Callable[..., None]
) -> None:
    inputs = _inputs(counts)
    kept = torch.rand(sum(counts), D_FF) >= dropout if dropout else None
    leaves = [item.requires_grad_() for item in inputs if item.is_floating_point()]
    out = ops.expert_feed_forward(*inputs, kept=kept, dropout=dropout, backend="reference")
    plain = _one_by_one(inputs, kept, dropout)
    assert_near(out, plain)
    if not sum(counts):
        return
    grads = [torch.autograd.grad(item.sin().sum(), leaves) for item in (out, plain)]
    for actual, expected in zip(*grads, strict=True):
        assert_near(actual, expected, grad=True)


@pytest.mark.parametrize(
    ("index", "shape", "message"),
    [
        (0, (6, 5), r"tokens \(6, 5\) must be \[N, D\], w1 \(2, 10, 6\) \[E, F, D\]"),
        (1, (3,), r"n_tokens \(3,\) must be \(2,\)"),
        (3, (10,), r"b1 \(10,\) must be \(2, 10\)"),
        (4, (2, 10, 6), r"w2 \(2, 10, 6\) must be \(2, 6, 10\)"),
    ],
)
def test_shapes_that_do_not_fit_are_named(index: int, shape: tuple[int, ...], message: str) -> None:
    inputs = _inputs([2, 4])
    inputs[index] = torch.zeros(shape, dtype=inputs[index].dtype)
    with pytest.raises(ValueError, match=message):
        ops.expert_feed_forward(*inputs)
