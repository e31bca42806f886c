from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from terraformer.branch import BranchOptions, FeedForwardBranch
from terraformer.feed_forward import DenseFF, build_feed_forward
from terraformer.feed_forward_config import DenseFFConfig, SwitchFFConfig
from terraformer.reversible import ReversibleBlock, ReversibleSequence
from terraformer.switch import SwitchFF, load_balancing_loss

CONFIG = SwitchFFConfig(
    d_ff=12, n_experts=4, capacity_factor=4.0, jitter=0.0, expert_dropout=0.0, init_scale=1.0
)


def _expected(layer: SwitchFF, tokens: Tensor) -> Tensor:
    """Outputs of tokens [T, D], one after another, without limit of capacity."""
    experts, outputs = layer.experts, []
    for token in tokens:
        probability = (layer.router @ token).softmax(dim=-1)
        e = int(probability.argmax())
        units = F.linear(token, experts.w1[e], experts.b1[e]).relu()
        outputs.append(probability[e] * F.linear(units, experts.w2[e], experts.b2[e]))
    return torch.stack(outputs)


def test_one_expert_is_the_dense_layer(assert_near: Callable[..., None]) -> None:
    switch = SwitchFF(replace(CONFIG, n_experts=1, capacity_factor=1.0), 8)
    dense = DenseFF(DenseFFConfig(d_ff=12), 8)
    with torch.no_grad():
        for name in ("w1", "w2"):
            linear = getattr(dense, name)
            linear.bias.normal_()
            getattr(switch.experts, name)[0] = linear.weight
            getattr(switch.experts, f"b{name[1]}")[0] = linear.bias
    x = torch.randn(2, 63, 8, requires_grad=True)
    assert_near(switch(x), dense(x))
    assert_near(switch.step(x[:, 0]), dense.step(x[:, 0]))
    expected, actual = (
        torch.autograd.grad(layer(x).sin().sum(), x)[0] for layer in (dense, switch)
    )
    assert_near(actual, expected, grad=True)


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("length", [1, 63, 500], ids=lambda n: f"B2-L{n}-D8-float64")
def test_each_token_has_its_expert(
    length: int, training: bool, assert_near: Callable[..., None]
) -> None:
    layer = SwitchFF(CONFIG, 8).double().train(training)
    x = torch.randn(2, length, 8, dtype=torch.float64)
    mask = torch.rand(2, length) < 0.7
    out = layer(x, mask)
    assert not out[~mask].any()
    if mask.any():
        assert_near(out[mask], _expected(layer, x[mask]))
    assert_near(layer(x).flatten(0, 1), _expected(layer, x.flatten(0, 1)))
    assert layer.n_routed == mask.sum() + 2 * length
    assert layer.n_dropped == 0


@given(
    n_experts=st.integers(1, 5),
    n_tokens=st.integers(0, 40),
    factor=st.sampled_from([0.1, 0.5, 1.0, 1.25, 2.0]),
    seed=st.integers(0, 99),
)
@settings(max_examples=40, deadline=None)
def test_later_tokens_over_capacity_are_zero_and_counted(
    n_experts: int, n_tokens: int, factor: float, seed: int
) -> None:
    torch.manual_seed(seed)
    layer = SwitchFF(replace(CONFIG, n_experts=n_experts, capacity_factor=factor), 8)
    x, mask = torch.randn(1, n_tokens, 8), torch.rand(1, n_tokens) < 0.8
    n_real = int(mask.sum())
    out = layer(x, mask)[0]
    free = [math.ceil(n_real / n_experts * factor)] * n_experts
    n_dropped = 0
    for t in range(n_tokens):
        expected = torch.zeros(8)
        if mask[0, t]:
            choice = int((layer.router @ x[0, t]).argmax())
            free[choice] -= 1
            n_dropped += free[choice] < 0
            if free[choice] >= 0:
                expected = _expected(layer, x[0, t : t + 1])[0]
        torch.testing.assert_close(out[t], expected, atol=1e-5, rtol=1e-5)
    assert (layer.n_routed, layer.n_dropped) == (n_real, n_dropped)


def test_capacity_in_training_is_shared_by_the_batch() -> None:
    layer = SwitchFF(replace(CONFIG, n_experts=2, capacity_factor=0.5), 8)
    out = layer(torch.randn(1, 1, 8).expand(3, 8, 8))  # all go to one expert, which takes 6 of 24
    assert out[0, :6].any(dim=-1).all()
    assert not out[0, 6:].any()
    assert not out[1:].any()


@pytest.mark.parametrize("factor", [None, 0.6])
def test_evaluation_looks_at_no_other_example_and_no_padding(
    factor: float | None, assert_near: Callable[..., None]
) -> None:
    layer = SwitchFF(replace(CONFIG, eval_capacity_factor=factor), 8).eval()
    x, mask = torch.randn(3, 40, 8), torch.rand(3, 40) < 0.8
    out = layer(x, mask)
    n_dropped = layer.n_dropped
    assert (n_dropped > 0) == (factor is not None)
    for i in range(3):
        assert_near(out[i : i + 1, mask[i]], layer(x[i : i + 1, mask[i]]))
    assert layer.n_dropped == 2 * n_dropped


def test_steps_are_the_forward_pass(assert_near: Callable[..., None]) -> None:
    layer = build_feed_forward(replace(CONFIG, capacity_factor=0.5), 8, 0.1).eval()
    assert isinstance(layer, SwitchFF)
    x = torch.randn(3, 30, 8)
    assert_near(torch.stack([layer.step(x[:, t]) for t in range(30)], dim=1), layer(x))


@pytest.mark.parametrize("how", ["weights", "autocast"])
def test_the_router_computes_in_float32(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    layer = SwitchFF(CONFIG, 8)
    x = torch.randn(1, 50, 8)
    if how == "weights":
        layer, x = layer.bfloat16(), x.bfloat16()
    expected = (x[0].float() @ layer.router.float().T).softmax(dim=-1)
    seen: list[Tensor] = []
    route = layer._route
    monkeypatch.setattr(layer, "_route", lambda *args: seen.append(route(*args)) or seen[-1])
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=how == "autocast"):
        out = layer(x)
    assert out.dtype == torch.bfloat16
    assert seen[0].dtype == torch.float32
    torch.testing.assert_close(seen[0], expected, rtol=1e-6, atol=1e-7)
    assert layer.load_balancing_loss.dtype == torch.float32


def _explicit_loss(layer: SwitchFF, tokens: Tensor) -> Tensor:
    """weight * E * Σ_e f_e * P_e over tokens [T, D]."""
    probability = (tokens @ layer.router.T).softmax(dim=-1)
    loss = torch.zeros(())
    for e in range(layer.config.n_experts):
        share = (probability.argmax(dim=-1) == e).double().mean()
        loss = loss + share * probability[:, e].mean()
    return layer.config.load_balancing_weight * layer.config.n_experts * loss


def test_even_routing_has_the_least_loss() -> None:
    layer = SwitchFF(replace(CONFIG, load_balancing_weight=1.0), 4)
    with torch.no_grad():
        layer.router.copy_(20 * torch.eye(4))
    layer(torch.eye(4).repeat(1, 3, 1))
    assert layer.load_balancing_loss.item() == pytest.approx(1.0, abs=1e-4)
    layer(torch.eye(4)[:1].repeat(1, 12, 1))
    assert layer.load_balancing_loss.item() == pytest.approx(4.0, abs=1e-4)


@pytest.mark.parametrize("scale", [1.0, 0.25])
def test_the_loss_gets_its_gradient_in_the_backward_pass(
    scale: float, assert_near: Callable[..., None]
) -> None:
    layer = SwitchFF(replace(CONFIG, load_balancing_weight=0.5), 8).double()
    layer.loss_scale = scale
    x = torch.randn(2, 30, 8, dtype=torch.float64, requires_grad=True)
    mask = torch.rand(2, 30) < 0.8
    inputs = [x, *layer.parameters()]
    actual = torch.autograd.grad(layer(x, mask).sin().sum(), inputs)
    explicit = _explicit_loss(layer, x[mask])
    loss = _expected(layer, x[mask]).sin().sum() + scale * explicit
    for one, other in zip(actual, torch.autograd.grad(loss, inputs), strict=True):
        assert_near(one, other, grad=True)
    assert_near(load_balancing_loss(nn.Sequential(layer, nn.ReLU())).double(), explicit.detach())


def test_a_model_without_switch_layers_has_no_such_loss() -> None:
    assert load_balancing_loss(nn.Linear(2, 2)).item() == 0.0


def test_recomputation_routes_the_same_and_adds_the_loss_once(
    assert_near: Callable[..., None],
) -> None:
    config = replace(
        CONFIG, capacity_factor=0.7, jitter=0.1, expert_dropout=0.3, load_balancing_weight=3.0
    )
    options = BranchOptions(8, causal=False, dropout=0.2)
    sequence = ReversibleSequence(
        ReversibleBlock(
            FeedForwardBranch(layer, None, options) for layer in (DenseFFConfig(d_ff=12), config)
        )
        for _ in range(3)
    ).double()
    layers = [module for module in sequence.modules() if isinstance(module, SwitchFF)]
    mask = torch.rand(2, 40) < 0.8
    x1, x2 = torch.randn(2, 2, 40, 8, dtype=torch.float64).requires_grad_()
    results, counts = [], []
    for recompute in (True, False):
        sequence.recompute = recompute
        torch.manual_seed(5)
        y1, y2 = sequence(x1, x2, mask)
        before = load_balancing_loss(sequence)
        grads = torch.autograd.grad((y1.sin() + y2.square()).sum(), [x1, *sequence.parameters()])
        results.append([y1.detach(), *grads])
        assert_near(load_balancing_loss(sequence), before)
        counts.append([(layer.n_routed, layer.n_dropped) for layer in layers])
    for recomputed, stored in zip(*results, strict=True):
        assert_near(recomputed, stored, grad=True)
    assert all(n_routed == mask.sum() and n_dropped > 0 for n_routed, n_dropped in counts[0])
    assert counts[1] == [(2 * routed, 2 * dropped) for routed, dropped in counts[0]]


def test_jitter_and_dropout_act_in_training_only() -> None:
    x = torch.randn(1, 30, 8)
    for config in (replace(CONFIG, jitter=0.3), replace(CONFIG, expert_dropout=0.5)):
        layer = SwitchFF(config, 8)
        assert not torch.equal(layer(x), layer(x))
        layer.eval()
        assert torch.equal(layer(x), layer(x))


def test_weights_start_small() -> None:
    layer = SwitchFF(SwitchFFConfig(d_ff=512, n_experts=8), 128)
    for weight, fan_in in (
        (layer.router, 128),
        (layer.experts.w1, 128),
        (layer.experts.w2, 512),
    ):
        std = math.sqrt(0.1 / fan_in)
        assert weight.abs().max() <= 2 * std * 1.0001
        # A normal distribution cut off at 2 has 0.88 of its standard deviation.
        assert weight.std().item() == pytest.approx(0.88 * std, rel=0.05)


def test_routing_is_learned() -> None:
    torch.manual_seed(1)
    layer = SwitchFF(replace(CONFIG, jitter=0.01), 8)
    x, target = torch.randn(2, 1, 64, 8)
    optimizer = torch.optim.Adam(layer.parameters(), lr=1e-2)
    losses = []
    for _ in range(60):
        loss = (layer(x) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    assert load_balancing_loss(layer) < 2 * layer.config.load_balancing_weight
