from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from terraformer.attention import FullAttention
from terraformer.attention_config import (
    ConvolutionalQKVConfig,
    DenseQKVConfig,
    FullAttentionConfig,
    ModularQKVConfig,
    MultiplicativeQKVConfig,
    QKVConfig,
)
from terraformer.projection import SeparateOutput, SeparateQKV, build_output, build_qkv
from terraformer.sparse_dense import ModularDense, MultiplicativeDense

Slot = tuple[Tensor, bool]  # a weight, and whether the published one is its transpose


@pytest.mark.golden("attn_")
def test_attention_as_published(
    golden: dict[str, Any], request: pytest.FixtureRequest, assert_near: Callable[..., None]
) -> None:
    names = sorted((name for name in golden if name.startswith("w/")), key=_place)
    n_modules = golden[names[0]].shape[0]
    qkv: QKVConfig = {  # by the arrays of a projection
        2: DenseQKVConfig(),
        3: MultiplicativeQKVConfig(n_modules),
        4: ModularQKVConfig(n_modules),
    }[len(names) // 4]
    heads = re.search(r"h(\d+)", request.node.name, re.IGNORECASE)
    config = FullAttentionConfig(n_heads=int(heads[1]) if heads else 4, qkv=qkv)
    layer = FullAttention(config, golden["x"].shape[-1], causal=True)
    assert isinstance(layer.qkv, SeparateQKV)
    assert isinstance(layer.output, SeparateOutput)
    slots = [
        slot
        for part in (layer.qkv.w_q, layer.qkv.w_k, layer.qkv.w_v, layer.output.w_o)
        for slot in _slots(part)
    ]
    with torch.no_grad():
        for name, (parameter, turned) in zip(names, slots, strict=True):
            parameter.copy_(golden[name].mT if turned else golden[name])

    x = golden["x"].requires_grad_()
    y = layer(x)
    assert_near(y, golden["y"])
    parameters = [parameter for parameter, _ in slots]
    g_x, *g_weights = torch.autograd.grad(y, [x, *parameters], golden["gy"])
    assert_near(g_x, golden["gx"], grad=True)
    for name, (_, turned), gradient in zip(names, slots, g_weights, strict=True):
        expected = golden["g" + name]
        assert_near(gradient, expected.mT if turned else expected, grad=True)

    steps, state = [], None
    for x_t in x.detach().unbind(dim=1):
        y_t, state = layer.step(x_t, state)
        steps.append(y_t)
    assert_near(torch.stack(steps, dim=1), golden.get("y_predict", golden["y"]))


def _place(name: str) -> list[int]:
    """Where a weight stands in the published tree."""
    return [int(part) for part in name.split("/")[1:]]


def _slots(layer: nn.Module) -> list[Slot]:
    """The weights of a projection in published order."""
    if isinstance(layer, nn.Linear):
        return [(layer.weight, True), (layer.bias, False)]
    if isinstance(layer, ModularDense):
        mix = layer.multiplicative
        return [
            (mix.gate, False),
            (mix.projection, True),
            (layer.weight, True),
            (layer.bias, False),
        ]
    assert isinstance(layer, MultiplicativeDense)
    assert layer.bias is not None
    return [(layer.gate, False), (layer.projection, True), (layer.bias, False)]


CONFIGS = [
    DenseQKVConfig(),
    DenseQKVConfig(share_qk=True, bias=False),
    MultiplicativeQKVConfig(n_modules=2),
    ModularQKVConfig(n_modules=2),
    ConvolutionalQKVConfig(n_modules=2, output="both"),
    ConvolutionalQKVConfig(n_modules=8, share_qk=True, value_input="both"),
]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: type(config).__name__)
@pytest.mark.parametrize("n_prefilled", [0, 1, 5])
def test_steps_are_the_forward_pass(
    config: QKVConfig, n_prefilled: int, assert_near: Callable[..., None]
) -> None:
    qkv, output = build_qkv(config, 16), build_output(config, 16)
    x = torch.randn(2, 9, 16)
    parts: list[Tensor] = []
    qkv_state = output_state = None
    if n_prefilled:
        projected, qkv_state = qkv.prefill(x[:, :n_prefilled])
        back, output_state = output.prefill(x[:, :n_prefilled])
        parts.append(torch.stack([*projected, back]))
    for x_t in x[:, n_prefilled:].unbind(dim=1):
        projected, qkv_state = qkv.step(x_t, qkv_state)
        back, output_state = output.step(x_t, output_state)
        parts.append(torch.stack([*projected, back])[:, :, None])
    assert_near(torch.cat(parts, dim=2), torch.stack([*qkv(x), output(x)]))


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: type(config).__name__)
def test_keys_are_queries_where_they_are_shared(config: QKVConfig) -> None:
    qkv = build_qkv(config, 16)
    q, k, v = qkv(torch.randn(1, 3, 16))
    assert qkv.shares_qk == getattr(config, "share_qk", False)
    assert (k is q) == qkv.shares_qk
    assert not torch.equal(k, v)
    assert torch.equal(q, k) == qkv.shares_qk


def test_dense_weights_have_their_names() -> None:
    names = ["w_q.weight", "w_q.bias", "w_k.weight", "w_k.bias", "w_v.weight", "w_v.bias"]
    assert list(build_qkv(DenseQKVConfig(), 8).state_dict()) == names
    shared = build_qkv(DenseQKVConfig(share_qk=True, bias=False), 8)
    assert list(shared.state_dict()) == ["w_qk.weight", "w_v.weight"]
    assert list(build_output(DenseQKVConfig(), 8).state_dict()) == ["w_o.weight", "w_o.bias"]
    assert list(build_output(DenseQKVConfig(bias=False), 8).state_dict()) == ["w_o.weight"]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (MultiplicativeQKVConfig(3), r"d_out \(16\) must be divisible by n_modules \(3\)"),
        (ModularQKVConfig(3), r"d_model \(16\) must be divisible by n_modules \(3\)"),
    ],
)
def test_modules_that_do_not_fit_are_named(config: QKVConfig, message: str) -> None:
    for build in (build_qkv, build_output):
        with pytest.raises(ValueError, match=message):
            build(config, 16)
