from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from terraformer.attention import FullAttention, merge_heads, split_heads
from terraformer.attention_config import (
    ConvolutionalQKVConfig,
    DenseQKVConfig,
    FullAttentionConfig,
    LocalAttentionConfig,
    QKVConfig,
)
from terraformer.local_attention import LocalAttention
from terraformer.replay import Replay
from terraformer.softmax_attention import unit_keys

SHARED = DenseQKVConfig(share_qk=True, bias=False)


def _layer(causal: bool, as_published: bool = False, **changes: Any) -> LocalAttention:
    config = dataclasses.replace(LocalAttentionConfig(n_heads=2, chunk_len=8), **changes)
    return LocalAttention(config, 16, causal, as_published)


def _by_hand(layer: LocalAttention, x: Tensor) -> Tensor:
    """Attention with all scores, those out of reach blocked."""
    q, k, v = (split_heads(item, layer.n_heads) for item in layer.qkv(x))
    time = torch.arange(x.shape[1])
    chunk = time // layer.chunk_len
    distance = chunk - chunk[:, None]  # [L, L], of the key's chunk from the query's
    reachable = (distance >= -layer.n_chunks_before) & (distance <= layer.n_chunks_after)
    if layer.causal:
        reachable = reachable & (time <= time[:, None])
    scores = q @ k.mT / 8**0.5
    if layer.qkv.shares_qk:
        scores = q @ unit_keys(k).mT - 1e5 * torch.eye(len(time))
    weights = scores.masked_fill(~reachable, -torch.inf).softmax(dim=-1)
    return layer.output(merge_heads(weights @ v))


@pytest.mark.parametrize("share_qk", [False, True], ids=["apart", "shared"])
@pytest.mark.parametrize("causal", [False, True], ids=["both", "causal"])
@pytest.mark.parametrize(("n_before", "n_after"), [(0, 0), (1, 1), (3, 2), (9, 0)])
@pytest.mark.parametrize("length", [1, 8, 9, 63])
def test_chunks_by_hand(
    length: int,
    n_before: int,
    n_after: int,
    causal: bool,
    share_qk: bool,
    assert_near: Callable[..., None],
) -> None:
    layer = _layer(
        causal,
        n_chunks_before=n_before,
        n_chunks_after=n_after,
        qkv=DenseQKVConfig(share_qk=share_qk),
    ).double()
    leaves = [torch.randn(2, length, 16, dtype=torch.float64).requires_grad_() for _ in range(2)]
    leaves[1].data.copy_(leaves[0])
    outs = layer(leaves[0]), _by_hand(layer, leaves[1])
    assert_near(outs[0], outs[1])
    for out in outs:
        out.backward(torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view_as(out))
    assert_near(leaves[0].grad, leaves[1].grad, grad=True)


@pytest.mark.parametrize("qkv", [DenseQKVConfig(), SHARED], ids=["apart", "shared"])
@pytest.mark.parametrize("causal", [False, True], ids=["both", "causal"])
def test_one_chunk_is_full_attention(
    causal: bool, qkv: DenseQKVConfig, assert_near: Callable[..., None]
) -> None:
    local = _layer(causal, chunk_len=64, qkv=qkv, rotary=True)
    full = FullAttention(FullAttentionConfig(2, qkv, rotary=True), 16, causal)
    full.load_state_dict(local.state_dict())
    x = torch.randn(2, 40, 16)
    mask = torch.rand(2, 40) < 0.8
    assert_near(local(x), full(x))
    assert_near(local(x, mask)[mask], full(x, mask)[mask])


@pytest.mark.parametrize(
    ("qkv", "rotary"),
    [
        (DenseQKVConfig(), False),
        (SHARED, True),
        (ConvolutionalQKVConfig(output="convolutional"), True),
    ],
    ids=["apart", "shared-rotary", "convolutional-rotary"],
)
@pytest.mark.parametrize("n_prefilled", [0, 1, 8, 21, 32])
def test_steps_are_the_forward_pass(
    n_prefilled: int, qkv: QKVConfig, rotary: bool, assert_near: Callable[..., None]
) -> None:
    layer = _layer(causal=True, qkv=qkv, rotary=rotary, n_chunks_before=2)
    x = torch.randn(2, 60, 16)
    parts, state = [], None
    if n_prefilled:
        out, state = layer.prefill(x[:, :n_prefilled])
        parts.append(out)
    for t in range(n_prefilled, 60):
        out, state = layer.step(x[:, t], state)
        parts.append(out[:, None])
        assert state.cache.k.rows.shape[2] <= 3 * 8
        assert state.cache.v.rows.untyped_storage().nbytes() == 2 * 16 * 3 * 8 * 4
    assert_near(torch.cat(parts, dim=1), layer(x))


@pytest.mark.parametrize("share_qk", [False, True], ids=["apart", "shared"])
@pytest.mark.parametrize("causal", [False, True], ids=["both", "causal"])
@pytest.mark.parametrize("length", [1, 63, 500], ids=lambda n: f"B3-L{n}-D16-float32")
def test_padding_anywhere_changes_nothing(
    length: int, causal: bool, share_qk: bool, assert_near: Callable[..., None]
) -> None:
    layer = _layer(causal, qkv=DenseQKVConfig(share_qk=share_qk), rotary=True)
    x = torch.randn(3, length + 21, 16)
    mask = torch.ones(3, length + 21, dtype=torch.bool)
    mask[0, length:] = False
    mask[1, :21] = False
    mask[2, length // 2 : length // 2 + 21] = False
    out = layer(x, mask)
    for i in range(3):
        assert_near(out[i : i + 1, mask[i]], layer(x[i : i + 1, mask[i]]))


def test_padding_alone_gives_no_nan() -> None:
    x = torch.randn(2, 20, 16, requires_grad=True)
    mask = torch.zeros(2, 20, dtype=torch.bool)
    mask[0, 9] = True
    for causal in (False, True):
        for qkv in (DenseQKVConfig(), SHARED):
            out = _layer(causal, qkv=qkv)(x, mask)
            assert torch.isfinite(out).all()
            assert torch.isfinite(torch.autograd.grad(out.sum(), x)[0]).all()


class _Largest(TorchDispatchMode):
    """Notes the number of elements of the largest tensor that an operation returns."""

    n_elements = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for item in result if isinstance(result, tuple | list) else [result]:
            if isinstance(item, Tensor):
                self.n_elements = max(self.n_elements, item.numel())
        return result


@pytest.mark.parametrize("qkv", [DenseQKVConfig(), SHARED], ids=["apart", "shared"])
def test_no_matrix_of_all_scores(qkv: DenseQKVConfig) -> None:
    layer = _layer(causal=False, qkv=qkv, dropout=0.1)
    largest = []
    for length in (512, 2048):
        with _Largest() as tensors:
            x = torch.randn(1, length, 16, requires_grad=True)
            layer(x, torch.ones(1, length, dtype=torch.bool)).sum().backward()
        largest.append(tensors.n_elements)
    assert largest[1] == 4 * largest[0]
    assert largest[1] < 2048**2 / 8


def test_the_future_has_no_weight() -> None:
    layer = _layer(causal=True)
    x = torch.randn(1, 60, 16, requires_grad=True)
    (grad,) = torch.autograd.grad(layer(x)[:, 29].sum(), x)
    seen = grad[0].any(dim=-1)
    assert seen.nonzero().flatten().tolist() == list(range(16, 30))


def test_dropout_is_replayed() -> None:
    layer = _layer(causal=False, dropout=0.3)
    x = torch.randn(1, 20, 16)
    replay = Replay()
    first = layer(x, None, replay)
    assert not torch.equal(first, layer(x))
    assert torch.equal(first, layer(x, None, replay.play()))
    layer.eval()
    assert torch.equal(layer(x), layer(x))


def test_wrong_use_raises() -> None:
    with pytest.raises(ValueError, match="step needs a causal layer"):
        _layer(causal=False).step(torch.randn(1, 16))
    with pytest.raises(ValueError, match=r"chunk_len \(0\) must be at least 1"):
        _layer(causal=False, chunk_len=0)
    with pytest.raises(ValueError, match=r"length \(20\) must be divisible by chunk_len \(8\)"):
        _layer(causal=False, as_published=True)(torch.randn(1, 20, 16))


def test_published_chunks_form_a_circle() -> None:
    x = torch.randn(1, 32, 16, requires_grad=True)
    for as_published, expected in ((False, [0, 1]), (True, [0, 1, 3])):
        out = _layer(causal=False, as_published=as_published)(x)
        (grad,) = torch.autograd.grad(out[:, 3].sum(), x)
        chunks = grad[0].any(dim=-1).view(4, 8).any(dim=-1)
        assert chunks.nonzero().flatten().tolist() == expected


@pytest.mark.golden("self_attn_")
def test_as_published(
    golden: dict[str, Any], request: pytest.FixtureRequest, assert_near: Callable[..., None]
) -> None:
    """The file's name says what its arrays do not: full or in chunks, causal, masked."""
    name = request.node.callspec.id
    n_projections = sum(key.startswith("w/") for key in golden) - 1
    n_heads, d_model, _ = golden["w/0"].shape
    qkv = DenseQKVConfig(share_qk=n_projections == 2, bias=False)
    chunk = re.search(r"chunk(\d+)", name)
    causal = "causal" in name
    layer: FullAttention | LocalAttention
    if chunk is None:
        layer = FullAttention(FullAttentionConfig(n_heads, qkv), d_model, causal)
    else:
        config = LocalAttentionConfig(n_heads, int(chunk[1]), qkv=qkv)
        layer = LocalAttention(config, d_model, causal, as_published=True)
    parts = [*layer.qkv.children(), *layer.output.children()]
    with torch.no_grad():
        for i, part in enumerate(parts[:-1]):
            part.weight.copy_(golden[f"w/{i}"].mT.flatten(0, 1))
        parts[-1].weight.copy_(golden[f"w/{n_projections}"].flatten(0, 1).T)
    x = golden["x"].clone().requires_grad_()
    y = layer(x, golden["mask"] if "masked" in name else None)
    assert_near(y, golden["y"])
    y.backward(golden["gy"])
    assert_near(x.grad, golden["gx"], grad=True)
    for i, part in enumerate(parts[:-1]):
        grad = part.weight.grad.unflatten(0, (n_heads, -1)).mT
        assert_near(grad, golden[f"gw/{i}"], grad=True)
    grad = parts[-1].weight.grad.T.unflatten(0, (n_heads, -1))
    assert_near(grad, golden[f"gw/{n_projections}"], grad=True)
