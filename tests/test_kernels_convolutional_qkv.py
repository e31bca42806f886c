from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from convolutional_case import make_inputs
from torch import Tensor

from kernels import ops


def _tap_by_tap(mixed: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The convolution of mixed [B, L, S, M], each output from what stands under each tap."""
    _, length, n_modules, _ = mixed.shape
    _, n_back, n_around, _ = weight.shape
    out = torch.zeros_like(mixed) + bias
    for t in range(length):
        for s in range(n_modules):
            for i in range(n_back):
                for j in range(n_around):
                    time, module = t - (n_back - 1) + i, s - n_around // 2 + j
                    if time >= 0 and 0 <= module < n_modules:
                        out[:, t, s] += mixed[:, time, module] @ weight[:, i, j].T
    return out


@pytest.mark.parametrize("shared", [True, False], ids=["shared", "apart"])
@pytest.mark.parametrize(
    "taps", [(1, 1), (3, 3), (2, 5)], ids=lambda taps: "x".join(map(str, taps))
)
@pytest.mark.parametrize("length", [1, 7], ids=lambda n: f"B2-L{n}-S3-M4")
def test_the_reference_is_a_gated_product_and_taps(
    length: int, taps: tuple[int, int], shared: bool, assert_near: Callable[..., None]
) -> None:
    inputs = make_inputs(2, length, 3, 4, taps, shared)
    x, projection, gate, bias, w_q, b_q, w_v, b_v, w_k, b_k = inputs
    mixed = torch.stack([x * row @ projection.T for row in gate], dim=2)
    mixed = mixed + bias.view(3, 4)
    q, k, v = ops.convolutional_qkv(*inputs, backend="reference")
    assert_near(q, _tap_by_tap(mixed, w_q, b_q).flatten(-2))
    assert_near(v, _tap_by_tap(mixed, w_v, b_v).flatten(-2))
    if shared:
        assert k is q
    else:
        assert_near(k, _tap_by_tap(mixed, w_k, b_k).flatten(-2))


@pytest.mark.parametrize(
    ("index", "shape", "message"),
    [
        (0, (7, 12), r"x \(7, 12\) must be \[B, L, D\]"),
        (2, (2, 12), r"gate \(2, 12\) and projection \(4, 12\) must be"),
        (4, (4, 3, 2, 4), r"w_q \(4, 3, 2, 4\) must be \[M, length, modules \(odd\), M\]"),
        (6, (4, 3, 3, 4), r"w_v \(4, 3, 3, 4\) must be \(4, 3, 1, 4\)"),
        (9, (12,), r"b_k \(12,\) must be \(4,\)"),
    ],
)
def test_shapes_that_do_not_fit_are_named(index: int, shape: tuple[int, ...], message: str) -> None:
    inputs = make_inputs(2, 7, 3, 4)
    inputs[index] = torch.zeros(shape)
    if index == 2:
        inputs[3] = torch.zeros(8)
    with pytest.raises(ValueError, match=message):
        ops.convolutional_qkv(*inputs)
