from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from terraformer.config import DenseFFConfig, SparseFFConfig
from terraformer.feed_forward import DenseFF, SparseFF, build_feed_forward, drop_features
from terraformer.replay import Replay

CONFIG = SparseFFConfig(d_ff=48, block_size=4, d_lowrank=6)


def test_blocks_of_one_unit_are_the_dense_layer(assert_near: Callable[..., None]) -> None:
    dense = DenseFF(DenseFFConfig(d_ff=32), 8)
    sparse = SparseFF(SparseFFConfig(d_ff=32, block_size=1), 8)
    with torch.no_grad():
        dense.w1.bias.zero_()
        dense.w2.bias.normal_()
        sparse.w1.copy_(dense.w1.weight)
        sparse.w2.copy_(dense.w2.weight.T)
        sparse.b2.copy_(dense.w2.bias)
    x = torch.randn(2, 63, 8)
    for _ in range(8):  # hard and soft masks
        assert_near(sparse(x), dense(x))
    assert_near(sparse.step(x[:, 0]), dense.step(x[:, 0]))


@pytest.mark.parametrize("config", [CONFIG, DenseFFConfig(d_ff=48)], ids=["sparse", "dense"])
def test_steps_are_the_forward_pass(
    config: SparseFFConfig | DenseFFConfig, assert_near: Callable[..., None]
) -> None:
    layer = build_feed_forward(config, 8, 0.1).eval()
    x = torch.randn(2, 30, 8)
    steps = torch.stack([layer.step(x[:, t]) for t in range(30)], dim=1)
    assert_near(steps, layer(x))


def test_chunks_change_nothing_in_evaluation(assert_near: Callable[..., None]) -> None:
    whole = SparseFF(CONFIG, 8).eval()
    config = SparseFFConfig(d_ff=48, block_size=4, d_lowrank=6, chunk_len=7)
    chunked = SparseFF(config, 8).eval()
    chunked.load_state_dict(whole.state_dict())
    x = torch.randn(2, 25, 8)
    assert_near(chunked(x), whole(x))
    assert chunked(x[:, :0]).shape == (2, 0, 8)


@pytest.mark.parametrize("quant_prob", [0.0, 1.0], ids=["soft", "hard"])
def test_training_reaches_every_weight(quant_prob: float) -> None:
    config = SparseFFConfig(d_ff=48, block_size=4, d_lowrank=6, quant_prob=quant_prob)
    layer = SparseFF(config, 8)
    layer(torch.randn(2, 30, 8)).square().sum().backward()
    for name, parameter in layer.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_hard_and_soft_calls_come_in_their_shares() -> None:
    layer = SparseFF(CONFIG, 8)
    x = torch.randn(1, 20, 8)
    layer.config = SparseFFConfig(d_ff=48, block_size=4, d_lowrank=6, quant_prob=0.0)
    soft = layer(x)
    layer.config = CONFIG
    n_soft = sum(torch.equal(layer(x), soft) for _ in range(300))
    assert 180 <= n_soft <= 240  # 210 expected, four standard deviations are 32


def test_replay_repeats_choices_on_other_inputs() -> None:
    layer = SparseFF(SparseFFConfig(d_ff=48, block_size=4, d_lowrank=6, quant_prob=1.0), 8)
    x = torch.randn(2, 30, 8)
    replay = Replay()
    first = layer(x, None, replay)
    torch.manual_seed(77)
    assert torch.equal(layer(x, None, replay.play()), first)
    near = layer(x + 1e-4, None, replay.play())
    assert (near - first).abs().max() < 1e-2
    assert not torch.equal(layer(x), first)


def test_dropped_features_are_the_same_at_all_positions() -> None:
    x = torch.ones(3, 50, 40)
    dropped = drop_features(x, 0.25)
    assert torch.equal(dropped, dropped[:, :1].expand_as(dropped))
    assert dropped.unique().tolist() == [0.0, pytest.approx(4 / 3)]
    assert not torch.equal(dropped[0], dropped[1])


def test_dense_dropout_acts_in_training_only() -> None:
    layer = DenseFF(DenseFFConfig(d_ff=48), 8, dropout=0.5)
    x = torch.randn(2, 5, 8)
    assert not torch.equal(layer(x), layer(x))
    layer.eval()
    assert torch.equal(layer(x), layer(x))
