from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from kernels import ops
from terraformer.attention_config import (
    FullAttentionConfig,
    LocalAttentionConfig,
    LSHAttentionConfig,
)
from terraformer.blocks import build_branches
from terraformer.branch import BranchOptions
from terraformer.feed_forward_config import DenseFFConfig, SparseFFConfig, SwitchFFConfig
from terraformer.replay import Replay
from terraformer.reversible import ReversibleBlock, ReversibleSequence
from terraformer.stack_config import SRUConfig, StackConfig

CONFIGS = {
    "lsh-sparse-sru": StackConfig(
        3,
        LSHAttentionConfig(n_heads=2, n_hashes=2, chunk_len=4),
        SparseFFConfig(d_ff=32, block_size=4, d_lowrank=4, quant_prob=0.5, chunk_len=20),
        SRUConfig(n_layers=2, n_units=6),
    ),
    "full-dense": StackConfig(3, FullAttentionConfig(n_heads=2), DenseFFConfig(d_ff=32)),
    "dense-chunks": StackConfig(
        3, FullAttentionConfig(n_heads=2), DenseFFConfig(d_ff=32, chunk_len=40), SRUConfig()
    ),
    "three-branches": StackConfig(
        3, FullAttentionConfig(n_heads=2, dropout=0.2), DenseFFConfig(d_ff=32), n_attention=2
    ),
    "one-swap": StackConfig(
        3, FullAttentionConfig(n_heads=2), DenseFFConfig(d_ff=32), swap_last=False
    ),
    "switch": StackConfig(
        3, LocalAttentionConfig(n_heads=2, chunk_len=8), SwitchFFConfig(d_ff=32, n_experts=4)
    ),
}


def _block(name: str, dropout: float = 0.3) -> ReversibleBlock:
    config = CONFIGS[name]
    options = BranchOptions(d_model=8, causal=False, dropout=dropout)
    return ReversibleBlock(build_branches(config, 0, options), config.swap_last)


def _sequence(name: str, dropout: float = 0.3) -> ReversibleSequence:
    return ReversibleSequence(_block(name, dropout) for _ in range(CONFIGS[name].n_layers))


def _streams(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    mask = torch.ones(2, 50, dtype=torch.bool)
    mask[1, 30:] = False
    return torch.randn(2, 50, 8, dtype=dtype), torch.randn(2, 50, 8, dtype=dtype), mask


@pytest.mark.parametrize("name", CONFIGS)
def test_inverse_undoes_forward(name: str, assert_near: Callable[..., None]) -> None:
    sequence = _sequence(name).double().eval()
    x1, x2, mask = _streams()
    with torch.no_grad():
        y1, y2 = sequence(x1, x2, mask)
    assert not torch.allclose(y1, x1)
    for back, x in zip(sequence.inverse(y1, y2, mask), (x1, x2), strict=True):
        assert_near(back, x)


@pytest.mark.parametrize("name", CONFIGS)
def test_inverse_of_a_block_in_training_takes_its_replays(
    name: str, assert_near: Callable[..., None]
) -> None:
    block = _block(name).double()
    x1, x2, mask = _streams()
    replays = [Replay() for _ in block.branches]
    with torch.no_grad():
        y1, y2 = block(x1, x2, mask, replays)
    back = block.inverse(y1, y2, mask, [replay.play() for replay in replays])
    for one, other in zip(back, (x1, x2), strict=True):
        assert_near(one, other)
    assert not torch.allclose(block.inverse(y1, y2, mask)[0], x1)


def test_two_branches_are_the_equations_of_the_paper(assert_near: Callable[..., None]) -> None:
    block = _block("full-dense").eval()
    x1, x2, mask = _streams(torch.float32)
    f, g = block.branches
    y1 = x1 + f(x2, mask)
    for out, expected in zip(block(x1, x2, mask), (y1, x2 + g(y1, mask)), strict=True):
        assert_near(out, expected)


def _gradients(sequence: ReversibleSequence, recompute: bool, seed: int) -> list[Tensor]:
    x1, x2, mask = _streams(next(sequence.parameters()).dtype)
    torch.manual_seed(seed)
    sequence.recompute = recompute
    inputs = [x1.requires_grad_(), x2.requires_grad_(), *sequence.parameters()]
    y1, y2 = sequence(x1, x2, mask)
    state = torch.get_rng_state()
    grads = torch.autograd.grad((y1.sin() + y2.square()).sum(), inputs, allow_unused=True)
    assert torch.equal(torch.get_rng_state(), state)
    zero = (torch.zeros_like(item) for item in inputs)
    return [y1.detach(), y2.detach(), *(g if g is not None else next(zero) * 0 for g in grads)]


@pytest.mark.parametrize("seed", range(6))  # hard and soft masks in every block
@pytest.mark.parametrize("name", CONFIGS)
def test_recomputed_gradients_are_the_stored_ones(
    name: str, seed: int, assert_near: Callable[..., None]
) -> None:
    sequence = _sequence(name).double()
    results = []
    for recompute in (True, False):
        torch.manual_seed(seed)
        results.append(_gradients(sequence, recompute, seed))
    for i, (recomputed, stored) in enumerate(zip(*results, strict=True)):
        assert_near(recomputed, stored, grad=i > 1)


def test_single_precision_keeps_gradients_close() -> None:
    """Choices are replayed: a flipped one would move a gradient by far more than rounding does."""
    sequence = _sequence("lsh-sparse-sru")
    results = []
    for recompute in (True, False):
        torch.manual_seed(0)
        results.append(_gradients(sequence, recompute, 0))
    for recomputed, stored in zip(*results, strict=True):
        scale = max(1.0, stored.abs().max().item())
        torch.testing.assert_close(recomputed, stored, rtol=1e-3, atol=1e-4 * scale)


def test_stored_activations_do_not_grow_with_the_blocks() -> None:
    def stored(n_blocks: int, recompute: bool) -> int:
        blocks = (_block("full-dense", dropout=0.0) for _ in range(n_blocks))
        sequence = ReversibleSequence(blocks, recompute)
        x1, x2, mask = _streams(torch.float32)
        own = {p.data_ptr() for p in sequence.parameters()}
        sizes: dict[int, int] = {}

        def pack(tensor: Tensor) -> Tensor:
            if tensor.data_ptr() not in own:
                sizes[tensor.data_ptr()] = tensor.nbytes
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            out = sequence(x1.requires_grad_(), x2, mask)
        assert out[0].requires_grad
        return sum(sizes.values())

    assert stored(6, recompute=True) == stored(1, recompute=True)
    assert stored(6, recompute=False) > 3 * stored(1, recompute=False)


def test_gradients_of_a_block_are_handed_over_before_the_next_is_computed() -> None:
    """So memory does not hold the gradients of all blocks at once beside those of parameters."""
    sequence = _sequence("full-dense")
    seen: list[tuple[str, int]] = []
    for i, block in enumerate(sequence.blocks):
        last = block.branches[0].norm.weight
        last.register_post_accumulate_grad_hook(lambda p, i=i: seen.append(("gradient", i)))
        block.branches[-1].register_forward_pre_hook(lambda m, x, i=i: seen.append(("run", i)))
    x1, x2, mask = _streams(torch.float32)
    y1, _ = sequence(x1, x2, mask)
    seen.clear()
    y1.sum().backward()
    assert seen == [(event, i) for i in (2, 1, 0) for event in ("run", "gradient")]


def test_chunks_run_twice_in_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once forwards, once with their gradient: a third run would only find what is known."""
    n_tokens: list[int] = []
    run = ops.sparse_feed_forward

    def counted(x: Tensor, *arguments: Any, **options: Any) -> Tensor:
        n_tokens.append(len(x))
        return run(x, *arguments, **options)

    monkeypatch.setattr(ops, "sparse_feed_forward", counted)
    sequence = _sequence("lsh-sparse-sru")
    x1, x2, mask = _streams(torch.float32)
    y1, y2 = sequence(x1, x2, mask)
    (y1 + y2).sum().backward()
    assert n_tokens == 2 * 3 * [20] * 5


def test_the_graph_can_be_run_backwards_twice() -> None:
    sequence = _sequence("lsh-sparse-sru", dropout=0.0).eval()
    x1, x2, mask = _streams(torch.float32)
    y1, y2 = sequence(x1.requires_grad_(), x2, mask)
    first, second = (torch.autograd.grad((y1 * y2).sum(), x1, retain_graph=k)[0] for k in (1, 0))
    assert torch.equal(first, second)


def test_frozen_parameters_get_no_gradient() -> None:
    sequence = _sequence("full-dense")
    frozen = next(sequence.blocks[0].parameters())
    frozen.requires_grad_(False)
    x1, x2, mask = _streams(torch.float32)
    y1, _ = sequence(x1, x2, mask)
    y1.sum().backward()
    assert frozen.grad is None
    assert all(p.grad is not None for p in sequence.blocks[1].parameters())


@pytest.mark.parametrize("name", CONFIGS)
def test_mixed_precision_recomputes_in_mixed_precision(name: str) -> None:
    sequence = _sequence(name, dropout=0.0).eval()
    grads = []
    for recompute in (True, False):
        sequence.recompute = recompute
        torch.manual_seed(0)
        x1, x2, mask = _streams(torch.float32)
        x2.requires_grad_()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            y1, y2 = sequence(x1, x2, mask)
        grads.append(torch.autograd.grad((y1 + y2).square().sum(), x2)[0])
    scale = grads[1].abs().max().item()
    torch.testing.assert_close(*grads, rtol=0, atol=2e-2 * scale)
