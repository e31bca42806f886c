from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from published import gradients, leaves, load
from torch import Tensor

from terraformer.attention_config import (
    ConvolutionalQKVConfig,
    FullAttentionConfig,
    LocalAttentionConfig,
    LSHAttentionConfig,
)
from terraformer.blocks import Stack
from terraformer.branch import AttentionBranch, Branch, BranchOptions, FeedForwardBranch
from terraformer.feed_forward_config import DenseFFConfig, SparseFFConfig, SwitchFFConfig
from terraformer.local_attention import LocalAttention
from terraformer.lsh_attention import LSHAttention
from terraformer.reversible import ReversibleBlock, ReversibleSequence
from terraformer.stack_config import SRUConfig, StackConfig

CONFIGS = {
    "lsh-sparse-sru": StackConfig(
        2,
        LSHAttentionConfig(n_heads=2, n_hashes=2, chunk_len=16),
        SparseFFConfig(d_ff=32, block_size=4, d_lowrank=4),
        SRUConfig(n_layers=2, n_units=6),
    ),
    "full-dense": StackConfig(2, FullAttentionConfig(n_heads=2), DenseFFConfig(d_ff=32)),
    "alternating": StackConfig(
        2,
        (
            LocalAttentionConfig(n_heads=2, chunk_len=16, rotary=True),
            LSHAttentionConfig(n_heads=2, chunk_len=16),
        ),
        DenseFFConfig(d_ff=32),
    ),
    "two-attentions-switch": StackConfig(
        2,
        FullAttentionConfig(n_heads=2, rotary=True),
        SwitchFFConfig(d_ff=32, n_experts=3),
        n_attention=2,
    ),
    "one-swap": StackConfig(
        3, FullAttentionConfig(n_heads=2), DenseFFConfig(d_ff=32), swap_last=False
    ),
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


def test_layers_alternate_from_block_to_block() -> None:
    config = dataclasses.replace(
        CONFIGS["alternating"], n_layers=4, feed_forward=(DenseFFConfig(32), DenseFFConfig(48))
    )
    blocks = Stack(config, 8, causal=True).sequence.blocks
    kinds = [type(block.branches[0].attention) for block in blocks]
    assert kinds == [LocalAttention, LSHAttention] * 2
    assert [block.branches[1].feed_forward.w1.out_features for block in blocks] == [32, 48] * 2


def test_standard_residuals_need_the_other_stack() -> None:
    config = dataclasses.replace(CONFIGS["full-dense"], residual="standard")
    with pytest.raises(ValueError, match=r"residual \(standard\) must be reversible"):
        Stack(config, 8, causal=True)


def _branch(found: list[Tensor]) -> Branch:
    """Returns the branch whose weights have the shapes of these leaves."""
    d_model = len(found[0])
    options = BranchOptions(d_model, causal=True)
    dims = [leaf.dim() for leaf in found]
    if 4 in dims:  # kernels of convolutions
        length_kernel_size, kernel_size, d_module, _ = found[dims.index(4)].shape
        qkv = ConvolutionalQKVConfig(d_model // d_module, kernel_size, length_kernel_size)
        return AttentionBranch(FullAttentionConfig(n_heads=2, qkv=qkv), options)
    squares = [leaf for leaf in found if leaf.shape == (d_model, d_model)]
    if len(squares) == 4:
        return AttentionBranch(FullAttentionConfig(n_heads=2), options)
    n_own = 8 if 3 in dims else 6
    sru = None
    if len(found) > n_own:
        sru = SRUConfig((len(found) - n_own - 6) // 2, found[n_own + 2].shape[1])
    if 3 in dims:  # units in blocks
        d_lowrank, n_blocks, block_size = found[3].shape
        return FeedForwardBranch(
            SparseFFConfig(n_blocks * block_size, block_size, d_lowrank), sru, options
        )
    return FeedForwardBranch(DenseFFConfig(d_ff=found[2].shape[1]), sru, options)


@pytest.mark.golden("ff_")
def test_feed_forward_branches_as_published(
    golden: dict[str, Any], assert_near: Callable[..., None]
) -> None:
    branch = _branch(leaves(golden)).eval()
    load(branch, golden)
    x = golden["x"].clone().requires_grad_()
    y = branch(x)
    assert_near(y, golden["y"])
    y.backward(golden["gy"])
    assert_near(x.grad, golden["gx"], grad=True)
    for own, gradient in gradients(branch, golden):
        assert_near(own, gradient, grad=True)


@pytest.mark.golden("rev_")
def test_reversible_blocks_as_published(
    golden: dict[str, Any], assert_near: Callable[..., None]
) -> None:
    groups = sorted({int(name.split("/")[1]) for name in golden if name.startswith("w/")})
    branches = [
        _branch(leaves({n: v for n, v in golden.items() if n.startswith(f"w/{group}/")}))
        for group in groups
    ]
    block = ReversibleBlock(branches, swap_last=len(groups) > 1).eval()
    load(block, golden)
    x1, x2 = (golden[name].clone().requires_grad_() for name in ("x1", "x2"))
    y1, y2 = ReversibleSequence([block])(x1, x2)
    assert_near(y1, golden["y1"])
    assert_near(y2, golden["y2"])
    torch.autograd.backward((y1, y2), (golden["g1"], golden["g2"]))
    assert_near(x1.grad, golden["gx1"], grad=True)
    assert_near(x2.grad, golden["gx2"], grad=True)
    for own, gradient in gradients(block, golden):
        assert_near(own, gradient, grad=True)
    for back, wanted in zip(block.inverse(y1, y2), ("rx1", "rx2"), strict=True):
        assert_near(back, golden[wanted], grad=True)  # rounding of the way there and back
