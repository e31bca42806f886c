from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from terraformer.sparse_dense import (
    ConvolutionalDense,
    LocallyConnectedDense,
    ModularDense,
    MultiplicativeDense,
    new_dense,
)

Convert = Callable[[Tensor], Tensor]


@pytest.mark.golden("sparse_dense")
def test_as_published(golden: dict[str, Any], assert_near: Callable[..., None]) -> None:
    parts = {name.rsplit("_", 1)[0] for name in golden if name.endswith("_y")}
    assert parts
    for part in sorted(parts):
        arrays = {
            name.removeprefix(f"{part}_"): value
            for name, value in golden.items()
            if name.startswith(f"{part}_")
        }
        layer, weights = _published_layer(arrays, golden["x"].shape[-1])
        with torch.no_grad():
            for name, (parameter, convert) in weights.items():
                parameter.copy_(convert(arrays[name]))
        x = golden["x"].requires_grad_()
        y = layer(x)
        assert_near(y, arrays["y"])
        if "gx" not in arrays:
            continue
        parameters = [parameter for parameter, _ in weights.values()]
        g_x, *g_weights = torch.autograd.grad(y, [x, *parameters], golden["gy"])
        assert_near(g_x, arrays["gx"], grad=True)
        for (name, (_, convert)), gradient in zip(weights.items(), g_weights, strict=True):
            assert_near(gradient, convert(arrays[f"g_{name}"]), grad=True)


def _published_layer(
    arrays: dict[str, Tensor], d_in: int
) -> tuple[nn.Module, dict[str, tuple[nn.Parameter, Convert]]]:
    """The layer of the sizes of the arrays, and where their weights go and in what layout."""
    d_out = arrays["y"].shape[-1]
    if "gating" in arrays:
        layer = MultiplicativeDense(len(arrays["gating"]), d_in, d_out)
        assert layer.bias is not None
        return layer, {
            "gating": (layer.gate, _as_it_is),
            "projection": (layer.projection, _transposed),
            "bias": (layer.bias, _as_it_is),
        }
    if "kmod" in arrays:
        layer = ModularDense(len(arrays["kmod"]), d_in)
        return layer, {
            "multiplier": (layer.multiplicative.gate, _as_it_is),
            "kmult": (layer.multiplicative.projection, _transposed),
            "kmod": (layer.weight, _transposed),
            "bias": (layer.bias, _as_it_is),
        }
    if "kernel_HWIO" in arrays:
        length_kernel_size, kernel_size, d_module, _ = arrays["kernel_HWIO"].shape
        layer = ConvolutionalDense(d_in // d_module, d_in, d_out, kernel_size, length_kernel_size)
        return layer, {
            "kernel_HWIO": (layer.weight, lambda kernel: kernel.permute(3, 0, 1, 2)),
            "bias": (layer.bias, _as_it_is),
        }
    n_modules, kernel_size = arrays["w0"].shape[:2]
    layer = LocallyConnectedDense(n_modules, d_in, d_out, kernel_size)
    return layer, {"w0": (layer.weight, _by_seeing_module), "w1": (layer.bias, _as_it_is)}


def _as_it_is(weight: Tensor) -> Tensor:
    return weight


def _transposed(weight: Tensor) -> Tensor:
    return weight.mT


def _by_seeing_module(weight: Tensor) -> Tensor:
    """[S seen, k, in, out], indexed by the module that is seen → [S seeing, out, k * in]."""
    n_modules, kernel_size = weight.shape[:2]
    place = torch.arange(kernel_size)
    seen = (torch.arange(n_modules)[:, None] + place - kernel_size // 2) % n_modules
    return weight[seen, place].permute(0, 3, 1, 2).flatten(2)


@pytest.mark.parametrize("bias", [False, True], ids=["unbiased", "biased"])
def test_many_tokens_are_multiplied_as_few_are(
    bias: bool, assert_near: Callable[..., None]
) -> None:
    layer = MultiplicativeDense(4, 10, 12, bias)
    x = torch.randn(2, 7, 10, requires_grad=True)
    together = layer(x)
    alone = torch.stack([layer(token) for token in x.flatten(0, 1)]).view_as(together)
    assert_near(alone, together)
    inputs = [x, *layer.parameters()]
    for a, b in zip(
        torch.autograd.grad(alone.square().sum(), inputs),
        torch.autograd.grad(together.square().sum(), inputs),
        strict=True,
    ):
        assert_near(a, b, grad=True)


def test_one_module_with_an_open_gate_is_dense(assert_near: Callable[..., None]) -> None:
    layer, dense = MultiplicativeDense(1, 10, 12), nn.Linear(10, 12)
    with torch.no_grad():
        layer.gate.fill_(1)
        dense.weight.copy_(layer.projection)
        assert layer.bias is not None
        dense.bias.copy_(layer.bias)
    for x in (torch.randn(3, 10), torch.randn(40, 10)):
        assert_near(layer(x), dense(x))


def test_multiplication_can_permute(assert_near: Callable[..., None]) -> None:
    n_modules, d_model = 4, 20
    order = torch.randperm(d_model)
    layer = MultiplicativeDense(n_modules, d_model, d_model, bias=False)
    wanted = nn.functional.one_hot(order, d_model).float().unflatten(0, (n_modules, -1))
    with torch.no_grad():
        layer.gate.copy_(wanted.sum(dim=1))
        layer.projection.copy_(wanted.sum(dim=0))
    x = torch.randn(3, d_model)
    assert_near(layer(x), x[:, order])


def test_modules_that_pass_through_leave_multiplication(assert_near: Callable[..., None]) -> None:
    layer = ModularDense(4, 12)
    with torch.no_grad():
        layer.weight.copy_(torch.eye(3).expand_as(layer.weight))
        layer.bias.zero_()
    x = torch.randn(2, 5, 12)
    assert_near(layer(x), layer.multiplicative(x))


def test_modules_of_one_number_are_scaled(assert_near: Callable[..., None]) -> None:
    layer = ModularDense(6, 6)
    nn.init.normal_(layer.bias)
    x = torch.randn(5, 6)
    assert_near(layer(x), layer.multiplicative(x) * layer.weight.flatten() + layer.bias)


def test_a_kernel_of_one_is_dense_in_each_module(assert_near: Callable[..., None]) -> None:
    x = torch.randn(2, 7, 12)
    for n_modules in (1, 3):
        layer = ConvolutionalDense(n_modules, 12, 6, kernel_size=1, length_kernel_size=1)
        nn.init.normal_(layer.bias)
        modules = x.unflatten(-1, (n_modules, -1))
        expected = nn.functional.linear(modules, layer.weight.flatten(1), layer.bias)
        assert_near(layer(x), expected.flatten(-2))


def test_a_convolution_sees_modules_around_and_positions_before() -> None:
    layer = ConvolutionalDense(5, 10, 15, kernel_size=3, length_kernel_size=4)
    x = torch.randn(1, 9, 10, requires_grad=True)
    seen = layer(x)[0, 6, 6:9].sum()  # module 2
    (gradient,) = torch.autograd.grad(seen, x)
    expected = torch.zeros(9, 5, dtype=torch.bool)
    expected[3:7, 1:4] = True
    assert torch.equal(gradient[0].unflatten(-1, (5, 2)).ne(0).all(dim=-1), expected)


@settings(max_examples=30, deadline=None)
@given(
    n_modules=st.integers(1, 4),
    kernel_size=st.sampled_from([1, 3, 5]),
    length_kernel_size=st.integers(1, 4),
    n_prefilled=st.integers(0, 6),
    length=st.integers(1, 6),
)
def test_convolution_steps_are_the_forward_pass(
    n_modules: int, kernel_size: int, length_kernel_size: int, n_prefilled: int, length: int
) -> None:
    layer = ConvolutionalDense(
        n_modules, 2 * n_modules, 3 * n_modules, kernel_size, length_kernel_size
    )
    x = torch.randn(2, n_prefilled + length, 2 * n_modules)
    parts, state = [], None
    if n_prefilled:
        out, state = layer.prefill(x[:, :n_prefilled])
        parts.append(out)
    for t in range(n_prefilled, n_prefilled + length):
        out, state = layer.step(x[:, t], state)
        parts.append(out[:, None])
    torch.testing.assert_close(torch.cat(parts, dim=1), layer(x), rtol=1e-5, atol=1e-5)


def test_a_step_leaves_the_state_it_is_given() -> None:
    layer = ConvolutionalDense(2, 4, 4, kernel_size=3, length_kernel_size=3)
    _, state = layer.prefill(torch.randn(1, 5, 4))
    before = state.clone()
    first, _ = layer.step(torch.ones(1, 4), state)
    second, _ = layer.step(torch.ones(1, 4), state)
    assert torch.equal(state, before)
    assert torch.equal(first, second)


def test_modules_in_a_ring_turn_together(assert_near: Callable[..., None]) -> None:
    layer, turned = (LocallyConnectedDense(5, 10, 15, kernel_size=3) for _ in range(2))
    with torch.no_grad():
        turned.weight.copy_(layer.weight.roll(1, dims=0))
        turned.bias.copy_(layer.bias.roll(1, dims=0))
    x = torch.randn(3, 10)
    assert_near(turned(x.roll(2, dims=-1)), layer(x).roll(3, dims=-1))


def test_a_module_that_sees_itself_only_is_dense(assert_near: Callable[..., None]) -> None:
    layer = LocallyConnectedDense(5, 10, 15, kernel_size=1)
    nn.init.normal_(layer.bias)
    x = torch.randn(3, 10)
    dense = torch.block_diag(*layer.weight)
    assert_near(layer(x), x @ dense.T + layer.bias.flatten())


def test_layers_begin_as_published() -> None:
    dense, multiplicative = new_dense(300, 100), MultiplicativeDense(8, 512, 512)
    spreads = [
        (dense.weight, (2 / 400) ** 0.5),
        (multiplicative.gate, 0.5),
        (multiplicative.projection, (2 / 576) ** 0.5),
        (ModularDense(8, 256).weight, (1 / 32) ** 0.5),
        (ConvolutionalDense(4, 128, 128, 3, 3).weight, (2 / 64) ** 0.5),
        (LocallyConnectedDense(4, 128, 64, 3).weight, (2 / 48) ** 0.5),
        (dense.bias, 1e-6),
    ]
    for weight, spread in spreads:
        assert weight.std().item() == pytest.approx(spread, rel=0.2 if weight.dim() == 1 else 0.05)
    assert dense.weight.abs().max() <= (6 / 400) ** 0.5


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MultiplicativeDense(3, 8, 20), r"d_out \(20\) must be .* n_modules \(3\)"),
        (lambda: ModularDense(3, 8), r"d_model \(8\) must be divisible by n_modules \(3\)"),
        (lambda: ConvolutionalDense(4, 10, 8, 3, 3), r"d_in \(10\) must be .* n_modules \(4\)"),
        (lambda: ConvolutionalDense(4, 8, 10, 3, 3), r"d_out \(10\) must be .* n_modules \(4\)"),
        (lambda: ConvolutionalDense(4, 8, 8, 2, 3), r"kernel_size \(2\) must be odd"),
        (lambda: LocallyConnectedDense(4, 8, 8, 5), r"kernel_size \(5\) .* n_modules \(4\)"),
    ],
)
def test_sizes_that_do_not_fit_are_named(make: Callable[[], nn.Module], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
