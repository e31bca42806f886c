from __future__ import annotations

import json
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from terraformer.config import EncoderDecoderConfig, model_config_from_dict
from terraformer.copy_head import CopyHead, CopySource
from terraformer.language_model import shift_right
from terraformer.preset import preset
from terraformer.stack_config import CopyConfig
from terraformer.vocabulary_head import build_head

D, V = 8, 12


def new_head(run_len: int = 0) -> CopyHead:
    head = CopyHead(CopyConfig(d_key=4, run_len=run_len), D, 1e-6)
    if run_len:
        nn.init.normal_(head.run_gates)
    return head


def batch() -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """States of the encoder, ids and mask of the source, states and targets of the decoder."""
    ids = torch.tensor([[3, 5, 3, 7, 9, 3], [4, 4, 6, 0, 0, 0]])
    mask = torch.tensor([[True] * 6, [True] * 3 + [False] * 3])
    targets = torch.tensor([[3, 5, 1, 9], [6, 11, 4, 0]])
    return torch.randn(2, 6, D), ids, mask, torch.randn(2, 4, D), targets


def plain_mixture(
    head: CopyHead, logits: Tensor, states: Tensor, source: CopySource, targets: Tensor
) -> Tensor:
    """p = g p_vocabulary + (1 - g) p_copy, token by token, as the equation says."""
    rows = []
    for b, row in enumerate(states):
        real = source.mask[b]
        ids, read = source.ids[b, real].tolist(), [0, *targets[b].tolist()]
        scores = head.query(row) @ source.keys[b, real].T / source.keys.shape[-1] ** 0.5
        gate = head.gate(row)
        for n in range(1, head.run_len + 1):
            follows = torch.tensor(
                [
                    [
                        n <= min(j, t + 1) and ids[j - n : j] == read[t + 1 - n : t + 1]
                        for j in range(len(ids))
                    ]
                    for t in range(len(row))
                ]
            )
            scores = scores + head.run_scores[n - 1] * follows
            gate = gate - head.run_gates[n - 1] * follows.any(dim=-1, keepdim=True)
        attention = scores.softmax(dim=-1)
        copied = torch.stack(
            [attention[:, source.ids[b, real] == token].sum(dim=-1) for token in range(V)], dim=-1
        )
        rows.append(gate.sigmoid() * logits[b].softmax(dim=-1) + (-gate).sigmoid() * copied)
    return torch.stack(rows)


@pytest.mark.parametrize("run_len", [0, 1, 3])
def test_the_mixture_is_that_of_the_equation(
    run_len: int, assert_near: Callable[..., None]
) -> None:
    head, loss_layer = new_head(run_len), nn.Linear(D, V)
    encoded, ids, mask, states, targets = batch()
    source = head.read(encoded, ids, mask).along(shift_right(targets))
    logits = loss_layer(states)
    mixed = head.mix(logits, states, source)
    assert_near(mixed.exp(), plain_mixture(head, logits, states, source, targets))
    assert_near(mixed.exp().sum(dim=-1), torch.ones(2, 4))


@pytest.mark.parametrize("run_len", [0, 2])
@pytest.mark.parametrize("chunk_len", [1, 3, None])
@pytest.mark.parametrize("kind", ["dense", "low-rank"])
def test_the_loss_and_its_gradients_are_those_of_the_mixture(
    kind: str, chunk_len: int | None, run_len: int, assert_near: Callable[..., None]
) -> None:
    from terraformer.stack_config import DenseHeadConfig, LowRankHeadConfig

    config = DenseHeadConfig() if kind == "dense" else LowRankHeadConfig(3)
    head, loss_layer = new_head(run_len), build_head(config, D, V)
    encoded, ids, mask, states, targets = batch()
    target_mask = torch.tensor([[True] * 4, [True] * 3 + [False]])
    encoded.requires_grad_(), states.requires_grad_()
    inputs = [encoded, states, *head.parameters(), *loss_layer.parameters()]

    source = head.read(encoded, ids, mask).along(shift_right(targets))
    total, count = head.loss_sum(loss_layer, states, targets, target_mask, source, chunk_len)
    mixture = plain_mixture(head, loss_layer(states), states, source, targets)
    chosen = mixture.gather(2, targets[..., None])
    plain = -chosen[..., 0].log()[target_mask].sum()
    assert count == 7
    assert_near(total, plain)
    mixed = head.mix(loss_layer(states), states, source).gather(2, targets[..., None])[..., 0]
    for loss in (total, -mixed[target_mask].sum()):
        for actual, expected in zip(
            torch.autograd.grad(loss, inputs, retain_graph=True),
            torch.autograd.grad(plain, inputs, retain_graph=True),
            strict=True,
        ):
            assert_near(actual, expected, grad=True)


@pytest.mark.parametrize("run_len", [0, 1, 3])
def test_looking_token_by_token_is_looking_along(run_len: int) -> None:
    head = new_head(run_len)
    encoded, ids, mask, _, targets = batch()
    step = source = head.read(encoded, ids, mask)
    read_ids = shift_right(targets)
    along = source.along(read_ids).last
    for t, ids_t in enumerate(read_ids.T):
        step = step.after(ids_t)
        assert torch.equal(step.last[:, 0], along[:, t])


def test_what_cannot_be_copied_and_gates_that_are_shut_stay_finite() -> None:
    head, loss_layer = new_head(), nn.Linear(D, V)
    encoded, ids, mask, states, targets = batch()
    with torch.no_grad():
        head.gate.bias.fill_(-200.0)  # all is copied: g is 0 in float32
        loss_layer.bias[1] = -500.0
    states.requires_grad_()
    source = head.read(encoded, ids, mask)
    total, _ = head.loss_sum(loss_layer, states, targets, None, source)
    mixed = head.mix(loss_layer(states), states, source)
    assert total.isfinite()
    assert mixed.isfinite().all()
    for loss in (total, mixed.sum()):
        assert torch.autograd.grad(loss, states, retain_graph=True)[0].isfinite().all()


def test_without_a_source_the_vocabulary_speaks_alone(assert_near: Callable[..., None]) -> None:
    head, loss_layer = new_head(), nn.Linear(D, V)
    encoded, ids, mask, states, targets = batch()
    source = head.read(encoded, ids, torch.zeros_like(mask))
    logits = loss_layer(states)
    assert_near(head.mix(logits, states, source), logits.log_softmax(dim=-1))
    total, count = head.loss_sum(loss_layer, states, targets, None, source)
    plain = nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
    assert_near(total / count, plain)


def test_padding_of_the_target_may_hold_anything() -> None:
    head, loss_layer = new_head(), nn.Linear(D, V)
    encoded, ids, mask, states, targets = batch()
    target_mask = torch.tensor([[True] * 4, [True, False, False, False]])
    source = head.read(encoded, ids, mask)
    known, _ = head.loss_sum(loss_layer, states, targets, target_mask, source)
    states[~target_mask], targets[~target_mask] = torch.nan, -1
    states.requires_grad_()
    changed, _ = head.loss_sum(loss_layer, states, targets, target_mask, source)
    assert torch.equal(changed, known)
    assert torch.autograd.grad(changed, states)[0].isfinite().all()


def test_no_tensor_of_all_targets_by_vocabulary_or_source_is_kept() -> None:
    head, loss_layer = new_head(), nn.Linear(D, 1000)
    n_targets, n_source = 64, 900
    states = torch.randn(1, n_targets, D, requires_grad=True)
    targets = torch.randint(1000, (1, n_targets))
    source = head.read(torch.randn(1, n_source, D), torch.randint(1000, (1, n_source)))
    kept: list[int] = []

    def note(tensor: Tensor) -> Tensor:
        kept.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        total, _ = head.loss_sum(loss_layer, states, targets, None, source, chunk_len=8)
    assert total.isfinite()
    assert max(kept) < n_targets * n_source / 4


def test_configs_with_and_without_a_copy_path_go_to_json_and_back() -> None:
    config = preset("terraformer-800m")
    assert isinstance(config, EncoderDecoderConfig)
    values = config.to_dict()
    del values["copy"]  # as written before there was one
    assert model_config_from_dict(values) == config
    values["copy"] = CopyConfig(d_key=32).__dict__ | {"type": "CopyConfig"}
    loaded = model_config_from_dict(json.loads(json.dumps(values)))
    assert isinstance(loaded, EncoderDecoderConfig)
    assert loaded.copy == CopyConfig(d_key=32)
    assert model_config_from_dict(loaded.to_dict()) == loaded
