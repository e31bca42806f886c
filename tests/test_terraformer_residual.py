from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import torch

from terraformer.attention_config import (
    ConvolutionalQKVConfig,
    CrossAttentionConfig,
    FullAttentionConfig,
)
from terraformer.feed_forward_config import DenseFFConfig, SparseFFConfig
from terraformer.residual import Memory, ResidualStack
from terraformer.stack_config import SRUConfig, StackConfig

DENSE = StackConfig(2, FullAttentionConfig(n_heads=2), DenseFFConfig(d_ff=32), residual="standard")
CONFIGS = {
    "dense": DENSE,
    "sparse": StackConfig(
        2,
        FullAttentionConfig(n_heads=2, qkv=ConvolutionalQKVConfig(n_modules=4)),
        SparseFFConfig(d_ff=32, block_size=4, d_lowrank=4),
        SRUConfig(n_layers=2, n_units=6),
        residual="standard",
    ),
    "cross": dataclasses.replace(
        DENSE, n_attention=2, cross_attention=CrossAttentionConfig(n_heads=2)
    ),
}


def _memory(name: str) -> Memory | None:
    if CONFIGS[name].cross_attention is None:
        return None
    mask = torch.ones(2, 9, dtype=torch.bool)
    mask[1, 4:] = False
    return Memory(torch.randn(2, 9, 8), mask)


@pytest.mark.parametrize("n_prefilled", [0, 5, 12])
@pytest.mark.parametrize("name", CONFIGS)
def test_steps_are_the_forward_pass(
    name: str, n_prefilled: int, assert_near: Callable[..., None]
) -> None:
    stack = ResidualStack(CONFIGS[name], 8, causal=True).eval()
    x, memory = torch.randn(2, 12, 8), _memory(name)
    parts = []
    with torch.no_grad():
        state = stack.begin(memory)
        if n_prefilled:
            out, state = stack.prefill(x[:, :n_prefilled], memory)
            parts.append(out)
        for t in range(n_prefilled, 12):
            out, state = stack.step(x[:, t], state)
            parts.append(out[:, None])
        assert_near(torch.cat(parts, dim=1), stack(x, memory=memory))


@pytest.mark.parametrize("name", CONFIGS)
def test_padding_changes_nothing(name: str, assert_near: Callable[..., None]) -> None:
    stack = ResidualStack(CONFIGS[name], 8, causal=True).eval()
    x, memory = torch.randn(2, 12, 8), _memory(name)
    mask = torch.ones(2, 12, dtype=torch.bool)
    mask[0, 7:] = False
    out = stack(x, mask, memory)
    for i in range(2):
        alone = memory
        if memory is not None:
            assert memory.mask is not None
            alone = Memory(memory.states[i : i + 1, memory.mask[i]])
        assert_near(out[i : i + 1, mask[i]], stack(x[i : i + 1, mask[i]], memory=alone))


@pytest.mark.parametrize("name", CONFIGS)
def test_the_future_has_no_weight(name: str) -> None:
    stack = ResidualStack(CONFIGS[name], 8, causal=True).eval()
    x = torch.randn(2, 20, 8, requires_grad=True)
    (grad,) = torch.autograd.grad(stack(x, memory=_memory(name))[:, 10].sum(), x)
    assert grad[:, :11].any(dim=-1).all()
    assert not grad[:, 11:].any()


def test_the_dense_block_is_the_equation(assert_near: Callable[..., None]) -> None:
    stack = ResidualStack(dataclasses.replace(DENSE, n_layers=1), 8, causal=False).eval()
    attention, feed_forward = stack.blocks[0].branches
    x = torch.randn(2, 12, 8)
    y = x + attention(x)
    assert_near(stack(x), y + feed_forward(y))


def test_attention_to_an_encoder_needs_one() -> None:
    stack = ResidualStack(CONFIGS["cross"], 8, causal=True)
    with pytest.raises(ValueError, match="cross_attention needs the memory of an encoder"):
        stack(torch.randn(1, 3, 8))


def test_reversible_residuals_need_the_other_stack() -> None:
    config = dataclasses.replace(DENSE, residual="reversible")
    with pytest.raises(ValueError, match=r"residual \(reversible\) must be standard"):
        ResidualStack(config, 8, causal=True)
