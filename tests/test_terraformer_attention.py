from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from terraformer.attention import FullAttention
from terraformer.attention_config import (
    ConvolutionalQKVConfig,
    DenseQKVConfig,
    FullAttentionConfig,
    LSHAttentionConfig,
    ModularQKVConfig,
    MultiplicativeQKVConfig,
)
from terraformer.cache import GrowingCache, WindowCache
from terraformer.lsh_attention import LSHAttention
from terraformer.replay import Replay

CONFIGS = {
    "dense": FullAttentionConfig(n_heads=2),
    "rotary": FullAttentionConfig(n_heads=2, rotary=True),
    "shared": FullAttentionConfig(2, DenseQKVConfig(share_qk=True, bias=False)),
    "shared-rotary": FullAttentionConfig(2, DenseQKVConfig(share_qk=True), rotary=True),
    "multiplicative": FullAttentionConfig(2, MultiplicativeQKVConfig()),
    "modular": FullAttentionConfig(2, ModularQKVConfig()),
    "convolutional": FullAttentionConfig(
        2, ConvolutionalQKVConfig(n_modules=8, value_input="both", output="both"), rotary=True
    ),
    "convolutional-shared": FullAttentionConfig(2, ConvolutionalQKVConfig(share_qk=True)),
}


@pytest.fixture(params=CONFIGS.values(), ids=list(CONFIGS))
def config(request: pytest.FixtureRequest) -> FullAttentionConfig:
    return request.param


def _layer(causal: bool, **changes: Any) -> FullAttention:
    return FullAttention(dataclasses.replace(CONFIGS["dense"], **changes), 16, causal)


@pytest.mark.parametrize("n_prefilled", [0, 1, 9, 40])
def test_steps_are_the_forward_pass(
    n_prefilled: int, config: FullAttentionConfig, assert_near: Callable[..., None]
) -> None:
    layer = FullAttention(config, 16, causal=True)
    x = torch.randn(2, 40, 16)
    parts, state = [], None
    if n_prefilled:
        out, state = layer.prefill(x[:, :n_prefilled])
        parts.append(out)
    for t in range(n_prefilled, 40):
        out, state = layer.step(x[:, t], state)
        parts.append(out[:, None])
    assert_near(torch.cat(parts, dim=1), layer(x))


@pytest.mark.parametrize("causal", [False, True], ids=["both", "causal"])
@pytest.mark.parametrize("length", [1, 63, 500], ids=lambda n: f"B3-L{n}-D16-float32")
def test_padding_changes_nothing(
    length: int, causal: bool, config: FullAttentionConfig, assert_near: Callable[..., None]
) -> None:
    layer = FullAttention(config, 16, causal)
    x = torch.randn(3, length + 9, 16)
    mask = torch.ones(3, length + 9, dtype=torch.bool)
    mask[0, -9:] = False
    if not isinstance(config.qkv, ConvolutionalQKVConfig):
        mask[1, :9] = False
        mask[2, length // 2 : length // 2 + 9] = False
    out = layer(x, mask)
    for i in range(3):
        assert_near(out[i : i + 1, mask[i]], layer(x[i : i + 1, mask[i]]))


@pytest.mark.parametrize("share_qk", [False, True], ids=["apart", "shared"])
def test_padding_alone_gives_no_nan(share_qk: bool) -> None:
    x = torch.randn(2, 5, 16, requires_grad=True)
    mask = torch.zeros(2, 5, dtype=torch.bool)
    mask[0, 0] = True
    for causal in (False, True):
        out = _layer(causal, qkv=DenseQKVConfig(share_qk=share_qk))(x, mask)
        assert torch.isfinite(out).all()
        assert torch.isfinite(torch.autograd.grad(out.sum(), x)[0]).all()


def test_the_future_changes_nothing(
    config: FullAttentionConfig, assert_near: Callable[..., None]
) -> None:
    layer = FullAttention(config, 16, causal=True)
    x = torch.randn(2, 30, 16)
    changed = x.clone()
    changed[:, 20:] += 1
    assert_near(layer(changed)[:, :20], layer(x)[:, :20])
    assert not torch.allclose(layer(changed)[:, 20:], layer(x)[:, 20:])


@pytest.mark.parametrize("rotary", [False, True], ids=["plain", "rotary"])
@pytest.mark.parametrize("causal", [False, True], ids=["both", "causal"])
def test_shared_queries_are_the_twin_of_lsh_in_one_chunk(
    causal: bool, rotary: bool, assert_near: Callable[..., None]
) -> None:
    options = {"n_heads": 2, "qkv": DenseQKVConfig(share_qk=True, bias=False), "rotary": rotary}
    full = FullAttention(FullAttentionConfig(**options), 16, causal)
    lsh = LSHAttention(LSHAttentionConfig(chunk_len=40, n_hashes=2, **options), 16, causal)
    lsh.load_state_dict(full.state_dict())
    mask = torch.rand(3, 40) < 0.8
    mask[0] = True
    leaves = [torch.randn(3, 40, 16).requires_grad_() for _ in range(2)]
    leaves[1].data.copy_(leaves[0])
    outs = [layer(x, mask)[mask] for layer, x in zip((full, lsh), leaves, strict=True)]
    assert_near(outs[0], outs[1])
    for out in outs:
        out.backward(torch.linspace(-1, 1, out.numel()).view_as(out))
    assert_near(leaves[0].grad, leaves[1].grad, grad=True)


def test_alone_a_position_sees_itself(assert_near: Callable[..., None]) -> None:
    for dtype in (torch.float32, torch.float16, torch.bfloat16):  # the penalty is beyond float16
        layer = _layer(causal=True, qkv=DenseQKVConfig(share_qk=True, bias=False)).to(dtype)
        x = torch.randn(1, 1, 16).to(dtype)
        expected = layer.output(layer.qkv(x)[2])
        torch.testing.assert_close(layer(x), expected)
        torch.testing.assert_close(layer.step(x[:, 0])[0], expected[:, 0])


@pytest.mark.parametrize("padded", [False, True], ids=["whole", "padded"])
def test_dropout_is_replayed_and_leaves_the_mean(padded: bool) -> None:
    layer = _layer(causal=False, dropout=0.3)
    x = torch.randn(1, 6, 16)
    mask = torch.tensor([[True] * 5 + [not padded]])
    replay = Replay()
    first = layer(x, mask, replay)
    assert not torch.equal(first, layer(x, mask))
    assert torch.equal(first, layer(x, mask, replay.play()))
    mean = torch.stack([layer(x, mask) for _ in range(300)]).mean(dim=0)
    layer.eval()
    expected = layer(x, mask)
    assert torch.equal(expected, layer(x, mask))
    slope = (mean * expected).sum() / expected.square().sum()
    assert slope.item() == pytest.approx(1.0, abs=0.05)


def test_a_step_needs_a_causal_layer() -> None:
    with pytest.raises(ValueError, match="step needs a causal layer"):
        _layer(causal=False).step(torch.randn(1, 16))


def test_heads_that_do_not_fit_raise() -> None:
    with pytest.raises(ValueError, match=r"d_model \(16\) must be divisible by n_heads \(3\)"):
        _layer(causal=False, n_heads=3)
    with pytest.raises(ValueError, match=r"d_model \(16\) / n_heads \(16\) must be even"):
        _layer(causal=False, n_heads=16, rotary=True)


def test_the_cache_grows_without_losing_rows() -> None:
    rows = torch.randn(1, 2, 100, 3)
    cache = GrowingCache(rows[:, :, :1])
    for t in range(1, 100):
        cache.append(rows[:, :, t : t + 1])
    assert cache.length == 100
    assert torch.equal(cache.rows, rows)


@pytest.mark.parametrize("n_before", [0, 2])
@pytest.mark.parametrize("n_first", [1, 4, 5, 8, 13, 30])
def test_the_window_holds_the_chunks_in_reach(n_first: int, n_before: int) -> None:
    rows = torch.randn(1, 2, 40, 3)
    cache = WindowCache(rows[:, :, :n_first], 4, n_before)
    for t in range(n_first, 41):
        start = max(0, (t - 1) // 4 - n_before) * 4
        assert torch.equal(cache.rows, rows[:, :, start:t])
        if t < 40:
            cache.append(rows[:, :, t : t + 1])


@pytest.mark.golden("attn_causal_dense")
def test_as_published(golden: dict[str, Any], assert_near: Callable[..., None]) -> None:
    layer = FullAttention(FullAttentionConfig(n_heads=4), golden["x"].shape[-1], causal=True)
    parts = (layer.qkv.w_q, layer.qkv.w_k, layer.qkv.w_v, layer.output.w_o)
    places = sorted(name.removesuffix("/0") for name in golden if name.startswith("w/"))
    places = [place for place in places if f"{place}/1" in golden]
    for part, place in zip(parts, places, strict=True):
        assert isinstance(part, nn.Linear)
        part.load_state_dict({"weight": golden[f"{place}/0"].T, "bias": golden[f"{place}/1"]})
    x = golden["x"].clone().requires_grad_()
    y = layer(x)
    assert_near(y, golden["y"])
    y.backward(golden["gy"])
    assert_near(x.grad, golden["gx"], grad=True)
    for part, place in zip(parts, places, strict=True):
        assert_near(part.weight.grad.T, golden[f"g{place}/0"], grad=True)
        assert_near(part.bias.grad, golden[f"g{place}/1"], grad=True)
