from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from terraformer.feed_forward import DenseFF, SparseFF, build_feed_forward, drop_features
from terraformer.feed_forward_config import DenseFFConfig, SparseFFConfig
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


@pytest.mark.parametrize(
    "config",
    [CONFIG, replace(CONFIG, multiply_by_controller=True), DenseFFConfig(d_ff=48)],
    ids=["sparse", "multiplied", "dense"],
)
def test_steps_are_the_forward_pass(
    config: SparseFFConfig | DenseFFConfig, assert_near: Callable[..., None]
) -> None:
    layer = build_feed_forward(config, 8, 0.1).eval()
    x = torch.randn(2, 30, 8)
    steps = torch.stack([layer.step(x[:, t]) for t in range(30)], dim=1)
    assert_near(steps, layer(x))


@pytest.mark.parametrize("config", [CONFIG, DenseFFConfig(d_ff=48)], ids=["sparse", "dense"])
def test_chunks_change_nothing_in_evaluation(
    config: SparseFFConfig | DenseFFConfig, assert_near: Callable[..., None]
) -> None:
    whole = build_feed_forward(config, 8, 0.1).eval()
    chunked = build_feed_forward(replace(config, chunk_len=7), 8, 0.1).eval()
    chunked.load_state_dict(whole.state_dict())
    x = torch.randn(2, 25, 8)
    assert_near(chunked(x), whole(x))
    assert chunked(x[:, :0]).shape == (2, 0, 8)
    assert chunked(x[:0]).shape == (0, 25, 8)


def _gradients(layer: nn.Module, run: Callable[[Tensor], Tensor], x: Tensor) -> list[Tensor]:
    x = x.clone().requires_grad_()
    out = run(x)
    return [out, *torch.autograd.grad(out.sin().sum(), [x, *layer.parameters()])]


def test_dense_chunks_drop_the_same_units(assert_near: Callable[..., None]) -> None:
    layer, x = DenseFF(DenseFFConfig(d_ff=48), 8, dropout=0.3), torch.randn(2, 25, 8)
    results = []
    for layer.chunk_len in (0, 7, 1):
        torch.manual_seed(3)
        results.append(_gradients(layer, layer, x))
    for chunked in results[1:]:
        for one, other in zip(chunked, results[0], strict=True):
            assert_near(one, other, grad=True)


@pytest.mark.parametrize("seed", range(4))  # chunks of hard and of soft masks
def test_sparse_chunks_choose_the_same_for_their_gradient(
    seed: int, assert_near: Callable[..., None]
) -> None:
    layer = SparseFF(replace(CONFIG, quant_prob=0.5, temperature=1.0), 8)
    x = torch.randn(1, 25, 8)
    runs = {7: layer, 0: lambda x: torch.cat([layer(part) for part in x.split(7, dim=1)], dim=1)}
    results = []
    for chunk_len, run in runs.items():
        layer.chunk_len = chunk_len
        torch.manual_seed(seed)
        results.append(_gradients(layer, run, x))
    for one, other in zip(*results, strict=True):
        assert_near(one, other, grad=True)


@pytest.mark.parametrize("config", [CONFIG, DenseFFConfig(d_ff=48)], ids=["sparse", "dense"])
def test_chunks_store_nothing_but_their_input(config: SparseFFConfig | DenseFFConfig) -> None:
    layer = build_feed_forward(config, 8, 0.1)
    x = torch.randn(1, 640, 8, requires_grad=True)

    def stored(chunk_len: int) -> int:
        layer.chunk_len = chunk_len
        own = {p.data_ptr() for p in layer.parameters()}
        sizes: dict[int, int] = {}

        def pack(tensor: Tensor) -> Tensor:
            if tensor.data_ptr() not in own:
                sizes[tensor.data_ptr()] = tensor.nbytes
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            assert layer(x).requires_grad
        return sum(sizes.values())

    assert stored(0) > 640 * 48
    assert stored(64) <= x.nbytes + 4096


def test_the_second_projection_may_start_larger() -> None:
    layer = SparseFF(replace(CONFIG, scale_init=True), 8)
    limit = math.sqrt(6.0 / (48 + 8))
    assert layer.w1.abs().max() <= limit
    assert 1.8 * limit < layer.w2.abs().max() <= 2 * limit


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


@pytest.mark.parametrize("chunk_len", [0, 3], ids=["whole", "chunks"])
@pytest.mark.golden("sparse_ff")
def test_sparse_as_published(
    golden: dict[str, Any], chunk_len: int, assert_near: Callable[..., None]
) -> None:
    """Every mode of the published layer, with its own noise: outputs and all gradients."""
    d_model, n_blocks, block_size = golden["w1"].shape
    config = SparseFFConfig(
        d_ff=n_blocks * block_size,
        block_size=block_size,
        d_lowrank=golden["m1"].shape[1],
        chunk_len=chunk_len,
    )
    layer = SparseFF(config, d_model)
    layer.load_state_dict(_from_published(golden, ""))
    layer.eval()
    if not torch.allclose(layer(golden["x"]), golden["y_eval"], atol=1e-4):
        layer.config = replace(config, multiply_by_controller=True)
    steps = [layer.step(golden["x"][:, t]) for t in range(golden["x"].shape[1])]
    assert_near(torch.stack(steps, dim=1), golden["y_predict"])
    modes = [name[:-1] for name in golden if name.startswith("train_") and name.endswith("_y")]
    assert len(modes) >= 2
    for mode in ("eval_", *modes):
        layer.train(mode != "eval_")
        x = golden["x"].clone().requires_grad_()
        out = layer(x, None, _decisions(golden, mode, chunk_len))
        assert_near(out, golden[f"{mode}y" if mode != "eval_" else "y_eval"])
        layer.zero_grad()
        out.backward(golden["gy"])
        assert x.grad is not None
        assert_near(x.grad, golden[f"{mode}gx"], grad=True)
        expected = _from_published(golden, f"{mode}g_")
        for name, parameter in layer.named_parameters():
            grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            assert_near(grad, expected[name], grad=True)


def _from_published(golden: dict[str, Any], prefix: str) -> dict[str, Tensor]:
    """Weights, or gradients, of the published layer under the names and in the shapes of ours."""
    weights = {name: golden[prefix + name] for name in ("m1", "m2", "mb", "w1", "w2", "b2")}
    return {
        "controller_in": weights["m1"].T,
        "controller_out": weights["m2"].flatten(1).T,
        "controller_bias": weights["mb"].flatten(),
        "w1": weights["w1"].flatten(1).T,
        "w2": weights["w2"].transpose(0, 1).flatten(0, 1),
        "b2": weights["b2"],
    }


def _decisions(golden: dict[str, Any], mode: str, chunk_len: int) -> Replay | None:
    """What the published layer chose in training."""
    if mode == "eval_":
        return None
    replay = Replay()
    choices = golden[f"{mode}quant_mask"]
    for choice in choices.split(chunk_len or len(choices)):
        replay.keep(lambda: torch.tensor(mode != "train_soft_"))
        if mode != "train_soft_":
            replay.keep(lambda choice=choice: choice)
    return replay.play()


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
