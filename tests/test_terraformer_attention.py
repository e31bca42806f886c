from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from terraformer.attention import FullAttention, GrowingCache
from terraformer.config import FullAttentionConfig


def _layer(causal: bool) -> FullAttention:
    return FullAttention(FullAttentionConfig(n_heads=2), 16, causal)


@pytest.mark.parametrize("n_prefilled", [0, 1, 9, 40])
def test_steps_are_the_forward_pass(n_prefilled: int, assert_near: Callable[..., None]) -> None:
    layer = _layer(causal=True)
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
@pytest.mark.parametrize("length", [1, 63, 500], ids=lambda n: f"B2-L{n}-D16-float32")
def test_padding_changes_nothing(
    length: int, causal: bool, assert_near: Callable[..., None]
) -> None:
    layer = _layer(causal)
    x = torch.randn(2, length + 9, 16)
    mask = torch.ones(2, length + 9, dtype=torch.bool)
    mask[0, -9:] = False
    mask[1, :9] = False
    out = layer(x, mask)
    assert_near(out[:1, :-9], layer(x[:1, :-9]))
    assert_near(out[1:, 9:], layer(x[1:, 9:]))


def test_padding_alone_gives_no_nan() -> None:
    x = torch.randn(2, 5, 16, requires_grad=True)
    mask = torch.zeros(2, 5, dtype=torch.bool)
    mask[0, 0] = True
    for causal in (False, True):
        out = _layer(causal)(x, mask)
        assert torch.isfinite(out).all()
        assert torch.isfinite(torch.autograd.grad(out.sum(), x)[0]).all()


def test_the_future_changes_nothing(assert_near: Callable[..., None]) -> None:
    layer = _layer(causal=True)
    x = torch.randn(2, 30, 16)
    changed = x.clone()
    changed[:, 20:] += 1
    assert_near(layer(changed)[:, :20], layer(x)[:, :20])


def test_a_step_needs_a_causal_layer() -> None:
    with pytest.raises(ValueError, match="step needs a causal layer"):
        _layer(causal=False).step(torch.randn(1, 16))


def test_the_cache_grows_without_losing_rows() -> None:
    rows = torch.randn(1, 2, 100, 3)
    cache = GrowingCache(rows[:, :, :1])
    for t in range(1, 100):
        cache.append(rows[:, :, t : t + 1])
    assert cache.length == 100
    assert torch.equal(cache.rows, rows)


@pytest.mark.golden("attn_causal_dense")
def test_as_published(golden: dict[str, Any], assert_near: Callable[..., None]) -> None:
    weights = [golden[name] for name in sorted(golden) if name.startswith("w/")]
    matrices = [item for item in weights if item.dim() == 2]
    biases = [item for item in weights if item.dim() == 1]
    layer = FullAttention(FullAttentionConfig(n_heads=4), golden["x"].shape[-1], causal=True)
    with torch.no_grad():
        for part, matrix, bias in zip(
            (layer.w_q, layer.w_k, layer.w_v, layer.w_o), matrices, biases, strict=True
        ):
            part.weight.copy_(matrix.T)
            part.bias.copy_(bias)
    assert_near(layer(golden["x"]), golden["y"])
