from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F

from terraformer.attention import merge_heads, split_heads
from terraformer.config import LSHAttentionConfig
from terraformer.lsh_attention import LSHAttention, factor_buckets
from terraformer.replay import Replay

CONFIG = LSHAttentionConfig(n_heads=2, n_hashes=2, chunk_len=8)


def _layer(causal: bool, **changes: int) -> LSHAttention:
    return LSHAttention(dataclasses.replace(CONFIG, **changes), 16, causal)


@pytest.mark.parametrize("causal", [False, True], ids=["both", "causal"])
def test_one_chunk_is_full_shared_qk_attention(
    causal: bool, assert_near: Callable[..., None]
) -> None:
    layer = _layer(causal, chunk_len=40)
    x = torch.randn(2, 40, 16)
    qk, v = (split_heads(weight(x), 2) for weight in (layer.w_qk, layer.w_v))
    scores = qk @ F.normalize(qk, dim=-1).mT - 1e5 * torch.eye(40)
    if causal:
        scores = scores - 1e9 * torch.ones(40, 40).triu(1)
    assert_near(layer(x), layer.w_o(merge_heads(scores.softmax(-1) @ v)))


@pytest.mark.parametrize("n_prefilled", [0, 1, 7, 16])
def test_steps_are_the_forward_pass_while_all_is_in_reach(
    n_prefilled: int, assert_near: Callable[..., None]
) -> None:
    layer = _layer(causal=True)
    x = torch.randn(2, 16, 16)
    parts, state = [], None
    if n_prefilled:
        out, state = layer.prefill(x[:, :n_prefilled])
        parts.append(out)
    for t in range(n_prefilled, 16):
        out, state = layer.step(x[:, t], state)
        parts.append(out[:, None])
    assert_near(torch.cat(parts, dim=1), layer(x))


def test_a_late_step_sees_its_buckets_and_the_latest_chunk() -> None:
    """Changes the value of one earlier position at a time and looks whether the output notices."""
    layer = _layer(causal=True, n_hashes=1)
    x = torch.randn(1, 60, 16)
    _, state = layer.prefill(x[:, :59])
    out, state = layer.step(x[:, 59], state)
    buckets = state.buckets.rows[0, :, :, 0]  # [H, L]
    seen = torch.zeros(60, dtype=torch.bool)
    for t in range(60):
        _, state = layer.prefill(x[:, :59])
        if t < 59:
            state.v.rows[:, :, t] += 10.0
            seen[t] = not torch.equal(layer.step(x[:, 59], state)[0], out)
    expected = (buckets == buckets[:, -1:]).any(dim=0)
    expected[52:] = True
    expected[59] = False  # itself
    assert torch.equal(seen, expected)
    assert seen.sum() < 50


def test_buckets_follow_the_length_while_stepping() -> None:
    layer = _layer(causal=True)
    state = None
    for t in range(70):
        _, state = layer.step(torch.randn(1, 16), state)
        assert state.qk.length == state.v.length == state.buckets.length == t + 1
    assert state is not None
    assert state.n_buckets == 16
    assert torch.equal(
        state.buckets.rows, layer._hash(state.qk.rows, state.n_buckets).transpose(-1, -2)
    )


@pytest.mark.parametrize("causal", [False, True], ids=["both", "causal"])
@pytest.mark.parametrize("length", [1, 63, 500], ids=lambda n: f"B2-L{n}-D16-float32")
def test_neither_padding_nor_the_batch_changes_anything(
    length: int, causal: bool, assert_near: Callable[..., None]
) -> None:
    layer = _layer(causal)
    x = torch.randn(2, length + 70, 16)
    mask = torch.ones(2, length + 70, dtype=torch.bool)
    mask[0, length:] = False
    out = layer(x, mask)
    assert_near(out[:1, :length], layer(x[:1, :length]))
    assert_near(out[1:], layer(x[1:]))


def test_the_future_has_no_weight() -> None:
    layer = _layer(causal=True)
    x = torch.randn(1, 80, 16, requires_grad=True)
    (grad,) = torch.autograd.grad(layer(x)[:, 40].sum(), x)
    assert grad[:, :41].any()
    assert not grad[:, 41:].any()


def test_rotations_come_from_the_seed_and_are_not_saved() -> None:
    first, second, other = (_layer(False, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(first.rotations, second.rotations)
    assert not torch.equal(first.rotations, other.rotations)
    assert "rotations" not in first.state_dict()
    other.load_state_dict(first.state_dict())
    x = torch.randn(1, 100, 16)
    assert torch.equal(first(x), first(x))
    assert not torch.equal(first(x), other(x))


def test_replay_keeps_the_buckets(assert_near: Callable[..., None]) -> None:
    layer = _layer(False).double()
    x = torch.randn(1, 200, 16, dtype=torch.float64)
    replay = Replay()
    out = layer(x, None, replay)
    layer.rotations.neg_()
    assert not torch.allclose(layer(x), out)
    assert_near(layer(x, None, replay.play()), out)


def test_factors_of_buckets() -> None:
    assert factor_buckets(128) == (128,)
    assert factor_buckets(130) == (16, 8)
    assert factor_buckets(1024) == (32, 32)
    assert factor_buckets(65536) == (256, 256)
    for n_buckets in (0, 3, 65538):
        with pytest.raises(ValueError, match=rf"n_buckets \({n_buckets}\) must be even and betw"):
            _layer(False, n_buckets=n_buckets)


def test_many_buckets_run() -> None:
    layer = _layer(False, chunk_len=4)
    assert torch.isfinite(layer(torch.randn(1, 1001, 16))).all()


def test_a_step_needs_a_causal_layer() -> None:
    with pytest.raises(ValueError, match="step needs a causal layer"):
        _layer(causal=False).step(torch.randn(1, 16))
