from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from finetune.distillation import Teacher, copy_weights, divergence, token_divergence
from finetune.objectives import ExtractObjective
from finetune.token_objective import TokenObjective
from terraformer.attention_config import CrossAttentionConfig, FullAttentionConfig
from terraformer.build import Model, build_model
from terraformer.config import (
    EncoderDecoderConfig,
    LanguageModelConfig,
    ModelConfig,
    TerraformerConfig,
)
from terraformer.feed_forward_config import (
    DenseFFConfig,
    FeedForwardConfig,
    SparseFFConfig,
    SwitchFFConfig,
)
from terraformer.stack_config import StackConfig

ATTENTION = FullAttentionConfig(2)
DENSE = DenseFFConfig(16)
SPARSE = SparseFFConfig(16, 4, 4)
SWITCH = SwitchFFConfig(16, n_experts=2, expert_dropout=0.0)
N_SENTENCES = 5


def language_model(feed_forward: FeedForwardConfig, d_model: int = 8) -> LanguageModelConfig:
    stack = StackConfig(1, ATTENTION, feed_forward, residual="standard")
    return LanguageModelConfig(30, d_model, stack, dropout=0.0)


def encoder_decoder(feed_forward: FeedForwardConfig) -> EncoderDecoderConfig:
    encoder = StackConfig(1, ATTENTION, feed_forward, residual="standard")
    cross = CrossAttentionConfig(2)
    decoder = StackConfig(1, ATTENTION, feed_forward, cross_attention=cross, residual="standard")
    return EncoderDecoderConfig(30, 8, encoder, decoder, dropout=0.0)


def extractor(feed_forward: FeedForwardConfig) -> TerraformerConfig:
    stack = StackConfig(1, ATTENTION, feed_forward)
    return TerraformerConfig(
        vocab_size=30,
        d_token=8,
        d_model=8,
        n_features=3,
        token_encoder=stack,
        sentence_encoder=stack,
        decoder=stack,
        dropout=0.0,
    )


def extract_batch() -> dict[str, Tensor]:
    picks = torch.tensor([[3, 1], [2, -1]])
    next_pick = torch.zeros(2, 3, N_SENTENCES + 1)
    next_pick[0, 0, 3] = next_pick[0, 1, 1] = next_pick[0, 2, -1] = 1
    next_pick[1, 0, 2] = next_pick[1, 1, -1] = 1
    return {
        "ids": torch.randint(3, 30, (2, 20)),
        "token_mask": torch.ones(2, 20, dtype=torch.bool),
        "sentence_of_token": torch.arange(N_SENTENCES).repeat_interleave(4).expand(2, -1),
        "features": torch.randn(2, N_SENTENCES, 3),
        "sentence_mask": torch.ones(2, N_SENTENCES, dtype=torch.bool),
        "selectable": torch.ones(2, N_SENTENCES, dtype=torch.bool),
        "n_words": torch.full((2, N_SENTENCES), 9),
        "picks": picks,
        "next_pick": next_pick,
        "membership": next_pick[..., :-1].sum(dim=1),
        "weight": torch.ones(2),
    }


def token_batch() -> dict[str, Tensor]:
    mask = torch.arange(12) < torch.tensor([12, 7])[:, None]
    return {"ids": torch.randint(3, 30, (2, 12)), "mask": mask}


def pair_batch() -> dict[str, Tensor]:
    source, target = token_batch(), token_batch()
    pairs = {"source": source, "target": target}
    return {f"{side}_{name}": rows[name] for side, rows in pairs.items() for name in rows}


KINDS: dict[str, tuple[Callable[..., ModelConfig], Callable[..., nn.Module], Callable[..., Any]]]
KINDS = {
    "language-model": (language_model, TokenObjective, token_batch),
    "encoder-decoder": (encoder_decoder, TokenObjective, pair_batch),
    "extractor": (extractor, ExtractObjective, extract_batch),
}


@pytest.mark.parametrize("teacher_ff", [SPARSE, SWITCH], ids=["sparse", "switch"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_student_learns_from_its_teacher(kind: str, teacher_ff: FeedForwardConfig) -> None:
    config_of, objective_of, batch_of = KINDS[kind]
    expert = build_model(config_of(teacher_ff)).eval()
    with torch.no_grad():  # a teacher that is surer than it is at the start
        for weight in expert.parameters():
            weight.mul_(2.0)
    student = objective_of(build_model(config_of(DENSE))).train()
    teacher = Teacher(expert, weight=1.0, temperature=2.0)
    batch = batch_of()
    optimizer = torch.optim.Adam(student.parameters(), lr=2e-2)
    distances = []
    for _ in range(30):
        parts = student(teacher=teacher, **batch)
        optimizer.zero_grad()
        parts["loss"].backward()
        optimizer.step()
        distances.append(parts["divergence"].item())
    assert distances[-1] < 0.5 * distances[0]
    assert all(weight.grad is None for weight in expert.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_is_at_no_distance_from_itself(kind: str) -> None:
    config_of, objective_of, batch_of = KINDS[kind]
    model = build_model(config_of(DENSE)).eval()
    batch = batch_of()
    objective = objective_of(model).eval()
    teacher = Teacher(model, weight=0.25, temperature=3.0)
    with torch.no_grad():
        alone, taught = objective(**batch), objective(teacher=teacher, **batch)
    torch.testing.assert_close(taught["divergence"], torch.tensor(0.0), atol=1e-6, rtol=0)
    lost = 0.25 * alone.get("token_loss", alone.get("pointer_loss"))
    torch.testing.assert_close(taught["loss"], alone["loss"] - lost)


def test_the_divergence_is_that_of_kullback_and_leibler() -> None:
    student, teacher = torch.randn(4, 9), torch.randn(4, 9)
    for temperature in (1.0, 2.5):
        p, q = ((x / temperature).softmax(dim=-1) for x in (teacher, student))
        expected = (p * (p / q).log()).sum(dim=-1) * temperature**2
        torch.testing.assert_close(divergence(student, teacher, temperature), expected)
    forbidden = torch.tensor([0.0, -1e9, 1.0]), torch.tensor([1.0, -1e9, 0.5])
    allowed = divergence(forbidden[0][::2], forbidden[1][::2], 2.0)
    torch.testing.assert_close(divergence(*forbidden, 2.0), allowed)


def test_gradients_are_as_large_whatever_the_temperature() -> None:
    teacher = torch.randn(2000, 9) / 10
    sizes = []
    for temperature in (1.0, 8.0):
        student = torch.zeros(2000, 9, requires_grad=True)
        divergence(student, teacher, temperature).sum().backward()
        assert student.grad is not None
        sizes.append(student.grad.norm())
    torch.testing.assert_close(sizes[1], sizes[0], rtol=0.05, atol=0)


@pytest.mark.parametrize("chunk_len", [1, 4, 100])
def test_chunks_change_neither_the_divergence_nor_its_gradients(chunk_len: int) -> None:
    head, teacher_head = nn.Linear(6, 11), nn.Linear(4, 11)
    states, teacher_states = torch.randn(2, 5, 6, requires_grad=True), torch.randn(2, 5, 4)
    mask = torch.arange(5) < torch.tensor([5, 3])[:, None]
    whole = divergence(head(states), teacher_head(teacher_states), 2.0)[mask].mean()
    in_chunks = token_divergence(
        (head, states), (teacher_head, teacher_states), mask, 2.0, chunk_len
    )
    torch.testing.assert_close(in_chunks, whole)
    weights = [states, *head.parameters()]
    for mine, other in zip(
        torch.autograd.grad(in_chunks, weights), torch.autograd.grad(whole, weights), strict=True
    ):
        torch.testing.assert_close(mine, other)
    assert token_divergence((head, states), (teacher_head, teacher_states), mask & False, 1.0) == 0


def named(model: Model) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def test_weights_are_copied_where_name_and_shape_agree() -> None:
    switch, dense = build_model(language_model(SWITCH)), build_model(language_model(DENSE))
    before = named(dense)
    n_copied = copy_weights(switch, dense)
    source, after = named(switch), named(dense)
    shared = {name for name in after if name in source}
    assert n_copied == len(shared) == len(after) - 4
    for name, value in after.items():
        expected = source if name in shared else before
        torch.testing.assert_close(value, expected[name], rtol=0, atol=0)
    wider = build_model(language_model(DENSE, d_model=16))
    assert copy_weights(switch, wider) == 1  # only the head's bias is as long
    with torch.no_grad():
        next(switch.parameters()).zero_()
    assert named(dense)["embedding.weight"].any()


def test_a_teacher_has_a_share_and_a_temperature() -> None:
    model = build_model(language_model(DENSE))
    with pytest.raises(ValueError, match=r"weight \(1\.5\)"):
        Teacher(model, weight=1.5)
    with pytest.raises(ValueError, match=r"temperature \(0\)"):
        Teacher(model, temperature=0)
    mixed = Teacher(model, weight=0.25).mix(torch.tensor(8.0), torch.tensor(4.0))
    assert mixed == 7.0
