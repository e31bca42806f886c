from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from terraformer.sru import SRU


@pytest.mark.parametrize("length", [1, 63, 500], ids=lambda n: f"B2-L{n}-D8-float32")
def test_steps_are_the_forward_pass(length: int, assert_near: Callable[..., None]) -> None:
    layer = SRU(8)
    x = torch.randn(2, length, 8)
    steps, state = [], None
    for t in range(length):
        h, state = layer.step(x[:, t], state)
        steps.append(h)
    assert_near(torch.stack(steps, dim=1), layer(x))
    assert_near(state, layer.prefill(x)[1])


def test_masked_positions_change_nothing(assert_near: Callable[..., None]) -> None:
    layer = SRU(8)
    x = torch.randn(2, 40, 8)
    mask = torch.rand(40) < 0.6
    out = layer(x, mask.expand(2, 40))
    assert_near(out[:, mask], layer(x[:, mask]))


def test_the_future_changes_nothing() -> None:
    layer = SRU(8)
    x = torch.randn(2, 40, 8)
    changed = x.clone()
    changed[:, 20:] += 1
    assert torch.equal(layer(changed)[:, :20], layer(x)[:, :20])
    assert not torch.equal(layer(changed)[:, 20:], layer(x)[:, 20:])


@pytest.mark.golden("sru")
def test_as_published(golden: dict[str, Any], assert_near: Callable[..., None]) -> None:
    layer = SRU(golden["W"].shape[0])
    with torch.no_grad():
        layer.gates.weight.copy_(golden["W"].T)
        layer.gates.bias.copy_(golden["b"])
    x = golden["x"].clone().requires_grad_()
    y = layer(x)
    assert_near(y, golden["y"])
    y.backward(golden["gy"])
    assert_near(x.grad, golden["gx"], grad=True)
    assert_near(layer.gates.weight.grad, golden["gW"].T, grad=True)
    assert_near(layer.gates.bias.grad, golden["gb"], grad=True)
    state, steps = None, []
    for t in range(x.shape[1]):
        h, state = layer.step(golden["x"][:, t], state)
        steps.append(h)
    assert_near(torch.stack(steps, dim=1), golden["y_predict"])
