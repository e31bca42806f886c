from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn

from terraformer.attention import FullAttention
from terraformer.attention_config import ConvolutionalQKVConfig, FullAttentionConfig
from terraformer.sparse_dense import ConvolutionalDense, MultiplicativeDense
from terraformer.sparse_qkv import ConvolutionalOutput, ConvolutionalQKV

Arrays = dict[str, Any]
Layout = Callable[[Tensor], Tensor]
ValueInput = Literal["mixed", "both", "joined"]
Output = Literal["none", "multiplicative", "convolutional", "both"]

VALUE_INPUTS: dict[str, ValueInput] = {"original": "joined", "fixed": "both"}
OUTPUTS: dict[tuple[int, ...], Output] = {  # by the arrays of each layer
    (): "none",
    (3,): "multiplicative",
    (2,): "convolutional",
    (3, 2): "both",
}


@pytest.mark.golden("multconv_attn_")
def test_attention_as_published(
    golden: Arrays, request: pytest.FixtureRequest, assert_near: Callable[..., None]
) -> None:
    layer, weights = _published_layer(golden, request.node.name)
    x = golden["x"].requires_grad_()
    y = layer(x)
    assert_near(y, golden["y"])
    parameters = [parameter for _, parameter, _ in weights]
    g_x, *g_weights = torch.autograd.grad(y, [x, *parameters], golden["gy"])
    assert_near(g_x, golden["gx"], grad=True)
    gradients: dict[str, Tensor] = {}
    for (name, _, _), gradient in zip(weights, g_weights, strict=True):
        gradients[name] = gradients.get(name, 0) + gradient
    for name, _, layout in weights:
        assert_near(gradients[name], layout(golden["g" + name]), grad=True)


@pytest.mark.golden("multconv_attn_")
def test_steps_as_published(
    golden: Arrays, request: pytest.FixtureRequest, assert_near: Callable[..., None]
) -> None:
    layer, _ = _published_layer(golden, request.node.name)
    steps, state = [], None
    for x_t in golden["x"].unbind(dim=1):
        y_t, state = layer.step(x_t, state)
        steps.append(y_t)
    assert_near(torch.stack(steps, dim=1), golden["y_predict"])


def _published_layer(
    golden: Arrays, test: str
) -> tuple[FullAttention, list[tuple[str, nn.Parameter, Layout]]]:
    """The published layer, and for each of its weights the name, ours and how that is laid out.

    Where queries and keys are shared, the published layer neither scales the keys nor keeps a
    position from itself, as ours does. It is two equal layers then.
    """
    mix, q, *rest = _published_parts(golden)
    # Shared queries and keys are made apart from the values, else all three side by side.
    parts = [mix, q, *rest] if _branch(rest[0]) == _branch(q) else [mix, q, q, *rest]
    kernel = golden[q[0]]
    value_inputs: list[ValueInput] = [ours for word, ours in VALUE_INPUTS.items() if word in test]
    heads = re.search(r"H(\d+)", test)
    config = ConvolutionalQKVConfig(
        n_modules=len(golden[mix[0]]),
        kernel_size=kernel.shape[1] if kernel.dim() == 4 else 1,  # one module: a dense layer
        length_kernel_size=kernel.shape[0] if kernel.dim() == 4 else 1,
        value_input=value_inputs[0] if value_inputs else "mixed",
        output=OUTPUTS[tuple(len(part) for part in parts[4:])],
    )
    attention = FullAttentionConfig(n_heads=int(heads[1]) if heads else 4, qkv=config)
    layer = FullAttention(attention, golden["x"].shape[-1], causal=True)
    qkv, output = layer.qkv, layer.output
    assert isinstance(qkv, ConvolutionalQKV)
    assert isinstance(output, ConvolutionalOutput)
    ours = [qkv.mix, qkv.w_q, qkv.w_k, qkv.w_v, output.mix, output.w_o]
    slots = [slot for part in ours if part is not None for slot in _slots(part)]
    names = [name for part in parts for name in part]
    weights = [(name, *slot) for name, slot in zip(names, slots, strict=True)]
    with torch.no_grad():
        for name, parameter, layout in weights:
            parameter.copy_(layout(golden[name]))
    return layer, weights


def _published_parts(golden: Arrays) -> list[list[str]]:
    """Names of the weights of each published layer in turn; the bias is the last of a layer."""
    names = [name for name in golden if name.startswith("w/")]
    parts: list[list[str]] = [[]]
    for name in sorted(names, key=lambda name: [int(place) for place in name.split("/")[1:]]):
        parts[-1].append(name)
        if golden[name].dim() == 1:
            parts.append([])
    return parts[:-1]


def _branch(part: list[str]) -> list[str]:
    return part[0].split("/")[:3]


def _slots(layer: nn.Module) -> list[tuple[nn.Parameter, Layout]]:
    """Weights of our layer in published order, and how a published one is laid out in it."""
    assert isinstance(layer.bias, nn.Parameter)
    bias = layer.bias, lambda weight: weight
    if isinstance(layer, MultiplicativeDense):
        return [(layer.gate, lambda weight: weight), (layer.projection, lambda w: w.mT), bias]
    assert isinstance(layer, ConvolutionalDense)
    return [(layer.weight, _kernel_layout), bias]


def _kernel_layout(weight: Tensor) -> Tensor:
    """[length, modules, in, out], or [in, out] where one module is dense → [out, length, …]."""
    return weight.permute(3, 0, 1, 2) if weight.dim() == 4 else weight.T[:, None, None]


CONFIGS = [
    ConvolutionalQKVConfig(output="both"),
    ConvolutionalQKVConfig(n_modules=8, value_input="both", share_qk=True, output="convolutional"),
    ConvolutionalQKVConfig(n_modules=1, value_input="joined", length_kernel_size=4),
    ConvolutionalQKVConfig(n_modules=2, kernel_size=1, length_kernel_size=1, output="both"),
]
each_config = pytest.mark.parametrize("config", CONFIGS, ids=lambda config: f"S{config.n_modules}")


def _project(config: ConvolutionalQKVConfig) -> Callable[..., Tensor]:
    """What gives queries, keys, values and what is projected back, [4, B, L, D]."""
    qkv, output = ConvolutionalQKV(config, 16), ConvolutionalOutput(config, 16)
    return lambda x, mask=None: torch.stack([*qkv(x, mask), output(x, mask)])


@each_config
def test_the_future_changes_nothing(
    config: ConvolutionalQKVConfig, assert_near: Callable[..., None]
) -> None:
    project = _project(config)
    x = torch.randn(2, 9, 16)
    changed = x.clone()
    changed[:, 6:] += 1
    assert_near(project(changed)[:, :, :6], project(x)[:, :, :6])
    assert not torch.isclose(project(changed)[:, :, 6], project(x)[:, :, 6]).all(dim=-1).any()


@each_config
def test_padding_at_the_end_changes_nothing(
    config: ConvolutionalQKVConfig, assert_near: Callable[..., None]
) -> None:
    project = _project(config)
    x = torch.randn(2, 9, 16)
    mask = torch.ones(2, 9, dtype=torch.bool)
    mask[0, 5:] = False
    x[0, 5:] = 1e4
    out = project(x, mask)
    assert_near(out[:, :1, :5], project(x[:1, :5]))
    assert_near(out[:, 1:], project(x[1:]))


def test_padding_before_real_tokens_is_refused() -> None:
    mask = torch.tensor([[True, True, True], [False, True, True]])
    x = torch.randn(2, 3, 16)
    config = ConvolutionalQKVConfig(output="convolutional")
    message = r"length_kernel_size 3\) needs padding at the end"
    with pytest.raises(ValueError, match=message):
        ConvolutionalQKV(config, 16)(x, mask)
    with pytest.raises(ValueError, match=message):
        ConvolutionalOutput(config, 16)(x, mask)


def test_padding_stands_anywhere_without_a_convolution_along_the_length() -> None:
    mask = torch.tensor([[False, True, False, True]])
    x = torch.randn(1, 4, 16)
    project = _project(ConvolutionalQKVConfig(length_kernel_size=1, output="both"))
    assert torch.equal(project(x, mask), project(x))
    multiplied = ConvolutionalOutput(ConvolutionalQKVConfig(output="multiplicative"), 16)
    assert torch.equal(multiplied(x, mask), multiplied(x))


def test_shared_queries_are_the_queries_alone(assert_near: Callable[..., None]) -> None:
    config = ConvolutionalQKVConfig(value_input="both")
    apart = ConvolutionalQKV(config, 16)
    shared = ConvolutionalQKV(dataclasses.replace(config, share_qk=True), 16)
    renamed = {key.replace("w_q.", "w_qk."): value for key, value in apart.state_dict().items()}
    shared.load_state_dict({key: value for key, value in renamed.items() if "w_k." not in key})
    x = torch.randn(2, 5, 16)
    q, _, v = apart(x)
    for actual, expected in zip(shared(x), (q, q, v), strict=True):
        assert_near(actual, expected)


def test_values_of_a_module_are_made_of_its_own_input(assert_near: Callable[..., None]) -> None:
    config = ConvolutionalQKVConfig(n_modules=4, length_kernel_size=1, value_input="both")
    qkv = ConvolutionalQKV(config, 16)
    x = torch.randn(2, 5, 16)
    expected = [
        nn.functional.linear(torch.cat(module, dim=-1), qkv.w_v.weight.flatten(1), qkv.w_v.bias)
        for module in zip(qkv.mix(x).chunk(4, dim=-1), x.chunk(4, dim=-1), strict=True)
    ]
    assert_near(qkv(x)[2], torch.cat(expected, dim=-1))


@pytest.mark.parametrize("value_input", ["both", "joined"])
def test_one_module_joins_its_values_either_way(
    value_input: ValueInput, assert_near: Callable[..., None]
) -> None:
    config = ConvolutionalQKVConfig(n_modules=1, length_kernel_size=1, value_input=value_input)
    qkv = ConvolutionalQKV(config, 16)
    x = torch.randn(2, 5, 16)
    joined = torch.cat([qkv.mix(x), x], dim=-1)
    assert_near(qkv(x)[2], nn.functional.linear(joined, qkv.w_v.weight.flatten(1), qkv.w_v.bias))


def test_no_output_passes_attention_on() -> None:
    output = ConvolutionalOutput(ConvolutionalQKVConfig(), 16)
    x = torch.randn(2, 5, 16)
    assert output(x) is x
    assert output.prefill(x) == (x, None)
    assert output.step(x[:, 0])[1] is None
    assert not list(output.parameters())


def test_modules_that_do_not_fit_are_named() -> None:
    config = ConvolutionalQKVConfig(n_modules=3, output="convolutional")
    for layer in (ConvolutionalQKV, ConvolutionalOutput):
        with pytest.raises(ValueError, match=r"\(16\) must be divisible by n_modules \(3\)"):
            layer(config, 16)
