from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from terraformer.sparse_dense import MultiplicativeDense
from terraformer.stack_config import (
    DenseHeadConfig,
    LowRankHeadConfig,
    SparseHeadConfig,
    VocabularyHeadConfig,
)
from terraformer.vocabulary_head import build_head, token_loss, token_loss_sum

CONFIGS = [DenseHeadConfig(), SparseHeadConfig(n_modules=3), LowRankHeadConfig(d_lowrank=4)]
each_head = pytest.mark.parametrize("config", CONFIGS, ids=lambda config: type(config).__name__)


@pytest.mark.golden("sparse_dense")
def test_sparse_head_as_published(golden: dict[str, Any], assert_near: Callable[..., None]) -> None:
    gate, projection = golden["loss_mult_gating"], golden["loss_mult_projection"]
    bias = golden["loss_mult_bias"]
    head = build_head(SparseHeadConfig(len(gate)), golden["x"].shape[-1], len(bias))
    head.load_state_dict({"gate": gate, "projection": projection.T, "bias": bias})
    assert_near(head(golden["x"]), golden["loss_mult_y"])


@each_head
@pytest.mark.parametrize("length", [1, 63], ids=lambda n: f"B2-L{n}-D8-V30")
@pytest.mark.parametrize("chunk_len", [1, 7, 1000])
def test_chunks_give_the_plain_loss_and_gradients(
    config: VocabularyHeadConfig, length: int, chunk_len: int, assert_near: Callable[..., None]
) -> None:
    head = build_head(config, 8, 30)
    states = torch.randn(2, length, 8, requires_grad=True)
    targets = torch.randint(30, (2, length))
    mask = torch.rand(2, length) < 0.7
    mask[0, 0] = True
    inputs = [states, *head.parameters()]

    loss = token_loss(head, states, targets, mask, chunk_len)
    plain = F.cross_entropy(head(states)[mask], targets[mask])
    assert_near(loss, plain)
    for actual, expected in zip(
        torch.autograd.grad(loss, inputs), torch.autograd.grad(plain, inputs), strict=True
    ):
        assert_near(actual, expected, grad=True)

    total, count = token_loss_sum(head, states, targets, mask, chunk_len)
    assert count == mask.sum()
    assert_near(total, plain * count)


def test_masked_targets_and_their_states_change_nothing() -> None:
    head = build_head(DenseHeadConfig(), 8, 30)
    states, targets = torch.randn(2, 5, 8), torch.randint(30, (2, 5))
    mask = torch.tensor([[True, True, False, False, False], [True] * 5])
    loss = token_loss(head, states, targets, mask)
    states[~mask], targets[~mask] = torch.nan, -1
    states.requires_grad_()
    changed = token_loss(head, states, targets, mask)
    assert torch.equal(changed, loss)
    (gradient,) = torch.autograd.grad(changed, states)
    assert torch.equal(gradient[~mask], torch.zeros(3, 8))


def test_without_targets_the_loss_is_zero_and_has_a_gradient() -> None:
    head = build_head(SparseHeadConfig(2), 8, 30)
    states = torch.randn(1, 3, 8, requires_grad=True)
    mask = torch.zeros(1, 3, dtype=torch.bool)
    loss = token_loss(head, states, torch.zeros(1, 3, dtype=torch.int64), mask)
    assert loss == 0
    assert torch.equal(torch.autograd.grad(loss, states)[0], torch.zeros(1, 3, 8))


def test_logits_are_held_for_one_chunk_only() -> None:
    n_targets, vocab_size, chunk_len = 64, 1000, 8
    layer = nn.Linear(4, vocab_size)
    states = torch.randn(1, n_targets, 4, requires_grad=True)
    held: list[int] = []
    rows: list[int] = []

    def head(states: Tensor) -> Tensor:
        rows.append(len(states))
        return layer(states)

    def pack(tensor: Tensor) -> Tensor:
        held.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = token_loss(head, states, torch.randint(vocab_size, (1, n_targets)), None, chunk_len)
    assert sum(held) < n_targets * vocab_size / 10
    assert rows == [chunk_len] * 8
    loss.backward()
    assert rows == [chunk_len] * 16


def test_the_loss_is_float32_whatever_the_head() -> None:
    head = build_head(DenseHeadConfig(), 8, 30).bfloat16()
    states = torch.randn(1, 300, 8).bfloat16()
    targets = torch.randint(30, (1, 300))
    loss = token_loss(head, states, targets, chunk_len=64)
    assert loss.dtype == torch.float32
    logits = head(states).float()
    torch.testing.assert_close(loss, F.cross_entropy(logits[0], targets[0]), rtol=1e-5, atol=0)


def test_one_open_module_is_a_dense_head(assert_near: Callable[..., None]) -> None:
    sparse, dense = build_head(SparseHeadConfig(1), 8, 30), build_head(DenseHeadConfig(), 8, 30)
    assert isinstance(sparse, MultiplicativeDense)
    with torch.no_grad():
        sparse.gate.fill_(1)
    dense.load_state_dict({"weight": sparse.projection, "bias": sparse.bias})
    states = torch.randn(2, 50, 8)
    assert_near(sparse(states), dense(states))


@each_head
def test_a_head_learns(config: VocabularyHeadConfig) -> None:
    head = build_head(config, 8, 30)
    states, targets = torch.randn(1, 20, 8), torch.randint(30, (1, 20))
    optimizer = torch.optim.Adam(head.parameters(), 0.1)
    for _ in range(150):
        optimizer.zero_grad()
        token_loss(head, states, targets, chunk_len=8).backward()
        optimizer.step()
    assert token_loss(head, states, targets) < 0.2


def test_a_vocabulary_that_does_not_fit_is_named() -> None:
    with pytest.raises(ValueError, match=r"vocab_size \(32\) .* head.n_modules \(3\)"):
        build_head(SparseHeadConfig(3), 8, 32)
