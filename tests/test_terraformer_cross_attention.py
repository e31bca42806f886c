from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from terraformer.attention_config import CrossAttentionConfig
from terraformer.cross_attention import CrossAttention
from terraformer.replay import Replay
from terraformer.sparse_dense import MultiplicativeDense


def _layer(n_modules: int = 0, dropout: float = 0.0) -> CrossAttention:
    return CrossAttention(CrossAttentionConfig(2, n_modules, dropout), 16)


def test_like_the_attention_of_torch(assert_near: Callable[..., None]) -> None:
    layer, torchs = _layer(), nn.MultiheadAttention(16, 2, batch_first=True)
    parts = (layer.w_q, layer.w_k, layer.w_v)
    torchs.in_proj_weight = nn.Parameter(torch.cat([part.weight for part in parts]).detach())
    torchs.in_proj_bias = nn.Parameter(torch.cat([part.bias for part in parts]).detach())
    torchs.out_proj.load_state_dict(layer.w_o.state_dict())
    x, memory = torch.randn(2, 5, 16), torch.randn(2, 9, 16)
    mask = torch.rand(2, 9) < 0.6
    leaves = [(x.clone().requires_grad_(), memory.clone().requires_grad_()) for _ in range(2)]
    outs = (
        layer(*leaves[0], memory_mask=mask),
        torchs(leaves[1][0], leaves[1][1], leaves[1][1], key_padding_mask=~mask)[0],
    )
    assert_near(outs[0], outs[1])
    cotangent = torch.randn(2, 5, 16)
    grads = [
        torch.autograd.grad(out, leaf, cotangent) for out, leaf in zip(outs, leaves, strict=True)
    ]
    for one, other in zip(*grads, strict=True):
        assert_near(one, other, grad=True)


@pytest.mark.parametrize("n_modules", [0, 4])
@pytest.mark.parametrize("padded", [False, True], ids=["whole", "padded"])
def test_steps_are_the_forward_pass(
    padded: bool, n_modules: int, assert_near: Callable[..., None]
) -> None:
    layer = _layer(n_modules)
    x, memory = torch.randn(2, 7, 16), torch.randn(2, 9, 16)
    mask = torch.rand(2, 9) < 0.6 if padded else None
    state = layer.begin(memory, mask)
    steps = torch.stack([layer.step(x[:, t], state) for t in range(7)], dim=1)
    assert_near(steps, layer(x, memory, memory_mask=mask))


@pytest.mark.parametrize("n_modules", [0, 4])
def test_neither_padding_nor_the_batch_changes_anything(
    n_modules: int, assert_near: Callable[..., None]
) -> None:
    layer = _layer(n_modules)
    x, memory = torch.randn(2, 7, 16), torch.randn(2, 20, 16)
    mask = torch.ones(2, 7, dtype=torch.bool)
    mask[0, 3:] = False
    memory_mask = torch.ones(2, 20, dtype=torch.bool)
    memory_mask[0, 5:] = False
    memory_mask[1, [0, 7, 8]] = False
    out = layer(x, memory, mask, memory_mask)
    for i in range(2):
        alone = layer(x[i : i + 1, mask[i]], memory[i : i + 1, memory_mask[i]])
        assert_near(out[i : i + 1, mask[i]], alone)


def test_an_empty_memory_gives_nothing(assert_near: Callable[..., None]) -> None:
    layer = _layer()
    x, memory = torch.randn(2, 3, 16), torch.randn(2, 4, 16, requires_grad=True)
    out = layer(x, memory, memory_mask=torch.tensor([[True] * 4, [False] * 4]))
    assert_near(out[:1], layer(x[:1], memory[:1]))
    assert_near(out[1:], layer.w_o(torch.zeros(1, 3, 16)))
    assert torch.isfinite(torch.autograd.grad(out.sum(), memory)[0]).all()


def test_modules_make_queries_and_output_multiplicative() -> None:
    layer = _layer(n_modules=4)
    kinds = {name: type(part) for name, part in layer.named_children()}
    assert kinds == {
        "w_q": MultiplicativeDense,
        "w_k": nn.Linear,
        "w_v": nn.Linear,
        "w_o": MultiplicativeDense,
    }
    layer(torch.randn(1, 3, 16), torch.randn(1, 4, 16)).square().sum().backward()
    grads = {name: part.grad for name, part in layer.named_parameters()}
    assert all(grad is not None and grad.any() for grad in grads.values())


def test_dropout_is_replayed() -> None:
    layer = _layer(dropout=0.3)
    x, memory = torch.randn(1, 7, 16), torch.randn(1, 9, 16)
    replay = Replay()
    first = layer(x, memory, replay=replay)
    assert not torch.equal(first, layer(x, memory))
    assert torch.equal(first, layer(x, memory, replay=replay.play()))
    layer.eval()
    assert torch.equal(layer(x, memory), layer(x, memory))


def test_sizes_that_do_not_fit_raise() -> None:
    with pytest.raises(ValueError, match=r"d_model \(16\) must be divisible by n_heads \(3\)"):
        CrossAttention(CrossAttentionConfig(3), 16)
    with pytest.raises(ValueError, match=r"16\) must be divisible by n_modules \(5\)"):
        _layer(n_modules=5)
