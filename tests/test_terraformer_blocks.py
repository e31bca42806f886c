from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from terraformer.blocks import DecoderBlock, EncoderBlock, Stack
from terraformer.config import (
    DenseFFConfig,
    FullAttentionConfig,
    LSHAttentionConfig,
    SparseFFConfig,
    SRUConfig,
    StackConfig,
)
from terraformer.replay import Replay

CONFIGS = {
    "lsh-sparse-sru": StackConfig(
        2,
        LSHAttentionConfig(n_heads=2, n_hashes=2, chunk_len=16),
        SparseFFConfig(d_ff=32, block_size=4, d_lowrank=4),
        SRUConfig(n_layers=2, n_units=6),
    ),
    "full-dense": StackConfig(2, FullAttentionConfig(n_heads=2), DenseFFConfig(d_ff=32)),
}


@pytest.mark.parametrize("n_prefilled", [0, 5, 32])
@pytest.mark.parametrize("name", CONFIGS)
def test_steps_are_the_forward_pass(
    name: str, n_prefilled: int, assert_near: Callable[..., None]
) -> None:
    stack = Stack(CONFIGS[name], 8, causal=True).eval()
    x = torch.randn(2, 32, 8)  # two chunks: all within reach
    parts, state = [], None
    with torch.no_grad():
        if n_prefilled:
            out, state = stack.prefill(x[:, :n_prefilled])
            parts.append(out)
        for t in range(n_prefilled, 32):
            out, state = stack.step(x[:, t], state)
            parts.append(out[:, None])
        assert_near(torch.cat(parts, dim=1), stack(x))


@pytest.mark.parametrize("causal", [False, True], ids=["both", "causal"])
@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("length", [1, 63, 500], ids=lambda n: f"B2-L{n}-D8-float64")
def test_padding_anywhere_changes_nothing(
    length: int, name: str, causal: bool, assert_near: Callable[..., None]
) -> None:
    stack = Stack(CONFIGS[name], 8, causal).eval().double()
    x = torch.randn(2, length + 20, 8, dtype=torch.float64)
    mask = torch.ones(2, length + 20, dtype=torch.bool)
    mask[0, -20:] = False
    mask[1, length // 2 : length // 2 + 20] = False
    out = stack(x, mask)
    for i in range(2):
        assert_near(out[i : i + 1, mask[i]], stack(x[i : i + 1, mask[i]]))


@pytest.mark.parametrize("name", CONFIGS)
def test_the_future_has_no_weight(name: str) -> None:
    stack = Stack(CONFIGS[name], 8, causal=True).eval()
    x = torch.randn(1, 100, 8, requires_grad=True)
    (grad,) = torch.autograd.grad(stack(x)[:, 50].sum(), x)
    assert grad[:, :51].any()
    assert not grad[:, 51:].any()


def test_an_encoder_sees_both_directions() -> None:
    stack = Stack(CONFIGS["full-dense"], 8, causal=False).eval()
    x = torch.randn(1, 30, 8, requires_grad=True)
    (grad,) = torch.autograd.grad(stack(x)[:, 15].sum(), x)
    assert grad[0].any(dim=-1).all()
    with pytest.raises(ValueError, match="step needs a causal layer"):
        stack.step(torch.randn(1, 8))
    with pytest.raises(ValueError, match="step needs a causal layer"):
        stack.prefill(torch.randn(1, 4, 8))


def test_dropout_acts_in_training_only() -> None:
    stack = Stack(CONFIGS["full-dense"], 8, causal=False, dropout=0.5)
    x = torch.randn(1, 10, 8)
    assert not torch.equal(stack(x), stack(x))
    stack.eval()
    assert torch.equal(stack(x), stack(x))


def test_one_batch_is_learned() -> None:
    stack = Stack(CONFIGS["lsh-sparse-sru"], 8, causal=False)
    x, target = torch.randn(2, 1, 40, 8)
    optimizer = torch.optim.Adam(stack.parameters(), lr=3e-2)
    losses = []
    for _ in range(25):
        loss = (stack(x) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]


def test_blocks_are_the_two_kinds_of_a_stack() -> None:
    config = dataclasses.replace(CONFIGS["full-dense"], n_layers=3)
    for causal, kind in ((False, EncoderBlock), (True, DecoderBlock)):
        blocks = Stack(config, 8, causal).sequence.blocks
        assert [type(block) for block in blocks] == [kind] * 3


def _load_branches(block: EncoderBlock, weights: dict[str, Tensor], ff: str, sru: str) -> None:
    """Copies the published weights of both branches of g; a number is the place in the tree."""
    assert block.sru is not None
    names = {
        "feed_forward_norm.weight": f"{ff}/0/0",
        "feed_forward_norm.bias": f"{ff}/0/1",
        "sru.norm.weight": f"{sru}/0/0",
        "sru.norm.bias": f"{sru}/0/1",
        "sru.w_in.weight": f"{sru}/1/0",
        "sru.w_in.bias": f"{sru}/1/1",
    }
    n_layers = len(block.sru.layers)
    for i in range(n_layers):
        names[f"sru.layers.{i}.gates.weight"] = f"{sru}/{2 + i}/0/1/0/0"
        names[f"sru.layers.{i}.gates.bias"] = f"{sru}/{2 + i}/0/1/0/1"
    names["sru.w_out.weight"] = f"{sru}/{2 + n_layers}/0"
    names["sru.w_out.bias"] = f"{sru}/{2 + n_layers}/1"
    state = {name: weights[f"w/{place}"] for name, place in names.items()}
    state = {name: item.T if item.dim() == 2 else item for name, item in state.items()}
    if f"w/{ff}/1/0" in weights:  # dense
        for name, place in (("w1", "1"), ("w2", "4")):
            state[f"feed_forward.{name}.weight"] = weights[f"w/{ff}/{place}/0"].T
            state[f"feed_forward.{name}.bias"] = weights[f"w/{ff}/{place}/1"]
    else:
        tree = f"w/{ff}/1/0/1/1/0"
        state["feed_forward.controller_in"] = weights[f"{tree}/1/0"].T
        state["feed_forward.controller_out"] = weights[f"{tree}/1/1"].flatten(1).T
        state["feed_forward.controller_bias"] = weights[f"{tree}/1/2"].flatten()
        state["feed_forward.w1"] = weights[f"{tree}/2/0"].flatten(1).T
        state["feed_forward.w2"] = weights[f"{tree}/2/1"].transpose(0, 1).flatten(0, 1)
        state["feed_forward.b2"] = weights[f"{tree}/2/2"]
    missing, unexpected = block.load_state_dict(state, strict=False)
    assert not unexpected
    assert all(name.startswith("attention") for name in missing)


@pytest.mark.golden("ff_")
def test_branches_as_published(golden: dict[str, Any], assert_near: Callable[..., None]) -> None:
    """The published half-block adds its input: y = x + g(x) is not in these files, only g."""
    n_layers = 2 if "w/0/0/1/1/4/0" in golden and golden["w/0/0/1/1/4/0"].dim() == 2 else 1
    dense = "w/0/0/1/0/1/0" in golden
    feed_forward = (
        DenseFFConfig(d_ff=golden["w/0/0/1/0/1/0"].shape[1])
        if dense
        else SparseFFConfig(d_ff=16, block_size=4, d_lowrank=3)
    )
    if "w/0/0/1/1/3/0/1/0/0" not in golden:
        n_layers = 1
    config = StackConfig(1, FullAttentionConfig(n_heads=2), feed_forward, SRUConfig(n_layers, 4))
    block = EncoderBlock(config, 8).eval()
    _load_branches(block, golden, "0/0/1/0", "0/0/1/1")
    x = golden["x"].clone().requires_grad_()
    y = block.g(x, None, Replay())
    assert_near(y, golden["y"])
    y.backward(golden["gy"])
    assert_near(x.grad, golden["gx"], grad=True)
