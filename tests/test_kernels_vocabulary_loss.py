from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from vocabulary_case import make_inputs

from kernels import ops

SHAPES = {  # targets, D, S (0: a dense layer), M
    "T1-D5-S1-M7": (1, 5, 1, 7),
    "T63-D8-S3-M10": (63, 8, 3, 10),
    "T63-D8-S3-M80": (63, 8, 3, 80),
    "T40-D6-dense-V11": (40, 6, 0, 11),
}


def _materialized(
    states: Tensor, targets: Tensor, projection: Tensor, gate: Tensor | None, bias: Tensor | None
) -> Tensor:
    """The loss of whole logits, from a whole weight."""
    weight = projection
    if gate is not None:
        weight = torch.cat([row * projection for row in gate])
    return F.cross_entropy(F.linear(states, weight, bias), targets, reduction="none")


@pytest.mark.parametrize("has_bias", [True, False], ids=["bias", "no-bias"])
@pytest.mark.parametrize("chunk_len", [None, 7])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_the_reference_is_cross_entropy_of_whole_logits(
    shape: tuple[int, int, int, int],
    chunk_len: int | None,
    has_bias: bool,
    assert_near: Callable[..., None],
) -> None:
    inputs = make_inputs(*shape)
    if not has_bias:
        inputs[4] = None
    leaves = [item for item in inputs if item is not None and item.is_floating_point()]
    for leaf in leaves:
        leaf.requires_grad_()
    loss = ops.vocabulary_loss(*inputs, chunk_len=chunk_len, backend="reference")
    plain = _materialized(*inputs)
    assert_near(loss, plain)
    weights = torch.linspace(-1, 2, len(loss), dtype=torch.float64)
    grads = [torch.autograd.grad((item * weights).sum(), leaves) for item in (loss, plain)]
    for actual, expected in zip(*grads, strict=True):
        assert_near(actual, expected, grad=True)


def test_the_reference_holds_the_logits_of_one_chunk() -> None:
    inputs = make_inputs(64, 4, 2, 500)
    inputs[0].requires_grad_()
    held: list[int] = []

    def pack(tensor: Tensor) -> Tensor:
        held.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        ops.vocabulary_loss(*inputs, chunk_len=8, backend="reference")
    assert 0 < max(held) < 8 * 1000


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=lambda dtype: str(dtype)[6:])
def test_losses_are_float32(dtype: torch.dtype) -> None:
    inputs = [
        item.to(dtype) if item.is_floating_point() else item for item in make_inputs(9, 4, 2, 5)
    ]
    assert ops.vocabulary_loss(*inputs, backend="reference").dtype == torch.float32


@pytest.mark.parametrize(
    ("index", "shape", "message"),
    [
        (0, (9, 3), r"x \(9, 3\) must be \[T, D\], projection \(5, 4\) \[M, D\]"),
        (1, (8,), r"targets \(8,\) must be \[9\]"),
        (3, (2, 3), r"gate \(2, 3\) must be \[S, 4\]"),
        (4, (9,), r"bias \(9,\) must be \[10\]"),
    ],
)
def test_shapes_that_do_not_fit_are_named(index: int, shape: tuple[int, ...], message: str) -> None:
    inputs = make_inputs(9, 4, 2, 5)
    inputs[index] = torch.zeros(shape)
    with pytest.raises(ValueError, match=message):
        ops.vocabulary_loss(*inputs)
